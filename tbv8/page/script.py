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
    const css = getComputedStyle(document.documentElement);
    const traces = resolve(data.traces, data.columns, css);
    const layout = resolve(data.layout, data.columns, css);
    if (known) {  // keep the zoom and what was toggled
      for (const axis of ["xaxis", "yaxis"]) {
        const {range, autorange} = place.layout[axis];
        layout[axis] = {...layout[axis], range, autorange};
      }
      traces.forEach((trace, i) => { trace.visible = place.data[i].visible ?? true; });
    } else {
      charts.set(place.id, data);
      if (touch) layout.dragmode = false;  // a finger scrolls the page
    }
    sizeMarks(traces, data.span ? layout.xaxis.range.map(toMs) : []);
    // named one by one: among plotly.js's own is one that sends a chart to its maker
    const config = {responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
                    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
    Plotly.react(place, traces, layout, config);
    if (!known && data.span) place.on("plotly_relayout", change => follow(change));
  }

  const toMs = at => typeof at === "number" ? at
    : Date.parse(at.length > 10 ? at.replace(" ", "T") + "Z" : at);

  // Many marks are small ones.
  function sizeMarks(traces, [from, to]) {
    const marks = traces.filter(trace => trace.meta === "marks");
    let count = 0;
    for (const trace of marks) for (const x of trace.x) if (x >= from && x <= to) count++;
    const size = count > 600 ? 5 : count > 200 ? 7 : 10;
    for (const trace of marks) trace.marker = {...trace.marker, size};
    return marks.length ? size : null;
  }

  // The y range that shows all of what is drawn between two times.
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
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    return [low - pad, high + pad];
  }

  // Zoom all charts of time to where one of them was zoomed to.
  let following = false;
  function follow(change) {
    if (following) return;
    const range = change["xaxis.range"] || [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (change["xaxis.autorange"]) zoom(null);
    else if (range[0] !== undefined && range[1] !== undefined) zoom(range.map(toMs));
  }

  function zoom(range) {
    following = true;
    const done = [];
    for (const [id, data] of charts) {
      if (!data.span) continue;
      const place = document.getElementById(id);
      const update = {"xaxis.range": range ? range.slice() : data.span.slice()};
      const y = range && fit(place, ...range);
      if (y) update["yaxis.range"] = y;
      else update["yaxis.autorange"] = true;
      const before = place.data.find(trace => trace.meta === "marks")?.marker.size;
      const size = sizeMarks(place.data, range || data.span);
      done.push(before === size || size === null ? Plotly.relayout(place, update)
        : Plotly.update(place, {}, update));
    }
    return Promise.all(done).finally(() => { following = false; });
  }

  for (const button of document.querySelectorAll("button[data-zoom]")) {
    const [id, days] = button.dataset.zoom.split(":");
    button.addEventListener("click", () => {
      const end = Math.min(toMs(document.getElementById(id).layout.xaxis.range[1]),
                           charts.get(id).span[1]);
      const from = Math.max(charts.get(id).span[0], end - days * 864e5);
      zoom(+days ? [from, end] : null);
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
