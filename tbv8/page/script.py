"""The pages' script: draw the charts, follow light and dark, zoom together, sort tables, toggle."""

from __future__ import annotations

SCRIPT = r"""
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(hover: none)").matches || innerWidth <= 640;
  const charts = new Map();

  // "--ink" is the page's colour of that name, "@equity" the chart's column of that name.
  function resolve(value, columns, css) {
    if (typeof value === "string") {
      if (value.startsWith("--")) return css.getPropertyValue(value).trim();
      return value.startsWith("@") ? columns[value.slice(1)] : value;
    }
    if (Array.isArray(value)) return value.map(item => resolve(item, columns, css));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, resolve(item, columns, css)]));
    }
    return value;
  }

  function draw(place) {
    const known = charts.get(place.id);
    const data = known || JSON.parse(document.getElementById(place.id + "-data").textContent);
    if (!known) {
      charts.set(place.id, data);
      Object.assign(data, {range: data.span, selected: null});
      if (data.prices) data.prices = priceCharts.read(data.prices);
    }
    if (data.prices) drawPrices(place, data);
    else drawCurves(place, data, known);
    if (!known && data.span) place.on("plotly_relayout", change => follow(place, change));
    if (!known && data.prices) place.on("plotly_click", ({points: [point]}) => {
      if (["buy", "sell"].includes(point.data.meta) && data.prices.trades.opened.length) {
        choose(place.id, priceCharts.tradeAt(data.prices.trades, toMs(point.x)), false);
      }
    });
  }

  // listed here, since plotly.js's own list has a button that uploads the chart
  const config = {responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
                  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};

  function drawCurves(place, data, known) {
    const css = getComputedStyle(document.documentElement);
    const traces = resolve(data.traces, data.columns, css);
    const layout = resolve(data.layout, data.columns, css);
    if (known) {  // keep the zoom and what was toggled
      for (const axis of ["xaxis", "yaxis"]) {
        const {range, autorange} = place.layout[axis];
        layout[axis] = {...layout[axis], range, autorange};
      }
      traces.forEach((trace, i) => { trace.visible = place.data[i].visible ?? true; });
    }
    if (touch) layout.dragmode = false;  // a finger scrolls the page
    if (data.overview) [layout.shapes[0].x0, layout.shapes[0].x1] = data.range;
    const edits = data.overview ? {edits: {shapePosition: true}, displayModeBar: false} : {};
    Plotly.react(place, traces, layout, {...config, ...edits});
  }

  function drawPrices(place, data) {
    const css = getComputedStyle(document.documentElement);
    const {trades} = data.prices;
    const shown = priceCharts.view(data.prices, data.range, css, place.clientWidth, data.selected);
    const layout = priceCharts.arrange(resolve(data.layout, {}, css), shown, data.range,
                                       data.selected, trades, css);
    if (touch) layout.dragmode = false;
    const hidden = new Set((place.data || []).filter(trace => trace.visible === "legendonly")
      .map(trace => trace.name));
    for (const trace of shown.traces) if (hidden.has(trace.name)) trace.visible = "legendonly";
    const note = document.getElementById(place.id + "-note");
    if (note) note.textContent = shown.note;
    return Plotly.react(place, shown.traces, layout, config);
  }

  // Mark the visible part in an overview, where it can be moved and stretched.
  const markVisible = (place, {range, span}) =>
    Plotly.relayout(place, {"shapes[0].x0": range[0], "shapes[0].x1": range[1],
                            "xaxis.range": span.slice()});

  const toMs = at => typeof at === "number" ? at
    : Date.parse(at.length > 10 ? at.replace(" ", "T") + "Z" : at);

  // The y range of everything drawn between two times.
  function fit(place, from, to) {
    let low = Infinity, high = -Infinity;
    const take = y => { if (y < low) low = y; if (y > high) high = y; };
    for (const trace of place.data) {
      if (trace.visible === "legendonly" || trace.visible === false) continue;
      let before = null;
      for (let i = 0; i < trace.x.length; i++) {
        const x = trace.x[i], y = trace.y[i];
        if (y === null) continue;
        if (x < from) { before = y; continue; }
        if (x <= to) { take(y); continue; }
        if (trace.mode === "lines") take(y);
        break;
      }
      if (before !== null && trace.mode === "lines") take(before);
      if (trace.fill === "tozeroy") take(0);
    }
    if (low > high) return null;
    const isLog = place.layout.yaxis.type === "log";
    if (isLog && low <= 0) return null;
    if (isLog) [low, high] = [Math.log10(low), Math.log10(high)];
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    return [low - pad, high + pad];
  }

  // Zoom all charts of time to where one of them was zoomed to.
  let following = false;
  function follow(place, change) {
    if (following) return;
    const range = change["xaxis.range"] || [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (charts.get(place.id).overview && "shapes[0].x0" in change) {
      zoom([change["shapes[0].x0"], change["shapes[0].x1"]].map(toMs).sort((a, b) => a - b));
    }
    else if (change["xaxis.autorange"]) zoom(null);
    else if (range[0] !== undefined && range[1] !== undefined) zoom(range.map(toMs));
  }

  function zoom(range) {
    following = true;
    const done = [];
    for (const [id, data] of charts) {
      if (!data.span) continue;
      const place = document.getElementById(id);
      data.range = range ? range.slice() : data.span.slice();
      if (data.prices) done.push(drawPrices(place, data));
      else if (data.overview) done.push(markVisible(place, data));
      else done.push(Plotly.relayout(place, {"xaxis.range": data.range, ...fitted(place, range)}));
    }
    return Promise.all(done).finally(() => { following = false; });
  }

  function fitted(place, range) {
    const y = range && fit(place, ...range);
    return y ? {"yaxis.range": y} : {"yaxis.autorange": true};
  }

  const onButtons = (name, action) => {
    for (const button of document.querySelectorAll(`button[data-${name}]`)) {
      const [id, number] = button.getAttribute(`data-${name}`).split(":");
      button.addEventListener("click", () => action(id, +number, button));
    }
  };

  onButtons("zoom", (id, days) => {
    const {span, range} = charts.get(id), end = Math.min(range[1], span[1]);
    zoom(days ? [Math.max(span[0], end - days * 864e5), end] : null);
  });

  onButtons("move", (id, way) => {
    const {span, range: [from, to]} = charts.get(id), half = (to - from) / 2;
    const by = Math.min(Math.max(way * half, span[0] - from), span[1] - to);
    zoom([from + by, to + by]);
  });

  onButtons("log", (id, _, button) => {
    const data = charts.get(id), {yaxis} = data.layout, place = document.getElementById(id);
    yaxis.type = yaxis.type === "log" ? "linear" : "log";
    button.setAttribute("aria-pressed", yaxis.type === "log");
    Plotly.relayout(place, {"yaxis.type": yaxis.type, "yaxis.autorange": true}).then(() => {
      if (data.range[0] !== data.span[0] || data.range[1] !== data.span[1]) zoom(data.range);
    });
  });

  // Show a trade in its chart of prices; `jumps` zooms and scrolls there.
  function choose(id, number, jumps) {
    const data = charts.get(id), place = document.getElementById(id), {trades} = data.prices;
    data.selected = number;
    document.getElementById(id + "-trade").textContent = priceCharts.describe(trades, number);
    for (const row of document.querySelectorAll("tr.chosen")) row.classList.remove("chosen");
    const row = document.querySelector(`a[data-trade="${id}:${number}"]`)?.closest("tr");
    row?.classList.add("chosen");
    if (!jumps) {
      if (row) row.parentNode.closest(".scroll").scrollTop = row.offsetTop - 80;
      drawPrices(place, data);
      return;
    }
    zoom(priceCharts.around(data.prices, number, data.span));
    place.scrollIntoView({block: "center"});
  }

  onButtons("trade-step", (id, way) => {
    const {prices: {trades}, selected, range} = charts.get(id), {opened, closed} = trades;
    if (!opened.length) return;
    const next = selected !== null ? selected + way
      : way > 0 ? priceCharts.search(opened, range[0]) : priceCharts.search(closed, range[1]) - 1;
    choose(id, Math.min(Math.max(next, 0), opened.length - 1), true);
  });

  // <a data-trade="chart:3"> in a row: a click on the row shows the trade.
  for (const table of document.querySelectorAll("table")) {
    table.addEventListener("click", event => {
      const link = event.target.closest("tr")?.querySelector("a[data-trade]");
      if (!link) return;
      event.preventDefault();
      const [id, number] = link.dataset.trade.split(":");
      choose(id, +number, true);
    });
  }

  // Words by the alphabet, numbers by their size, cells without a value last.
  function keyOf(row, column) {
    const cell = row.cells[column];
    const text = (cell.firstElementChild?.dataset.value ?? cell.textContent).trim();
    if (text === "" || text === "\u2013") return null;
    const number = text.replaceAll(",", "");
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?%?( [A-Za-z]+)?$/.test(number)
      ? parseFloat(number) : text;
  }

  function sort(head) {
    const table = head.closest("table"), body = table.tBodies[0];
    const descending = head.getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map(row => [keyOf(row, head.cellIndex), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" && typeof b === "number"
        ? a - b : String(a).localeCompare(String(b), "en");
      return descending ? -order : order;
    });
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...rows.map(([, row]) => row));
  }

  for (const button of document.querySelectorAll("table[data-sortable] th button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // <input data-curves="chart:0,2"> shows and hides curves.
  for (const box of document.querySelectorAll("input[data-curves]")) {
    const [id, numbers] = box.dataset.curves.split(":");
    box.addEventListener("change", () => Plotly.restyle(
      id, {visible: box.checked ? true : "legendonly"}, numbers.split(",").map(Number)));
  }

  // <input type=radio data-panel="id"> shows one panel of its name and hides the others.
  for (const choice of document.querySelectorAll("input[data-panel]")) {
    choice.addEventListener("change", () => {
      for (const other of document.getElementsByName(choice.name)) {
        document.getElementById(other.dataset.panel).hidden = !other.checked;
      }
      drawVisible();
    });
  }

  function drawVisible() {
    for (const place of document.querySelectorAll(".chart")) {
      if (!charts.has(place.id) && !place.closest("[hidden]")) draw(place);
    }
  }

  drawVisible();
  document.documentElement.dataset.drawn = "all";
  dark.addEventListener("change", () => {
    for (const id of [...charts.keys()]) draw(document.getElementById(id));
  });
  addEventListener("beforeprint", () => {
    for (const id of charts.keys()) Plotly.Plots.resize(id);
  });
})();
"""
