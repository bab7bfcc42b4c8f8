"""The part of the pages' script that draws the visible part of price charts in full detail."""

from __future__ import annotations

PRICE_SCRIPT = r"""
const priceCharts = (() => {
  "use strict";
  const MINUTE = 6e4, DAY = 864e5;
  const LENGTHS = [1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440, 2880, 4320,
                   10080, 20160, 40320].map(minutes => minutes * MINUTE);
  const MAX_MARKS = 1500, MAX_TRADES = 2000;

  // A packed column: zigzag varints in base64, differences unless `steps` is false.
  function unpack({count, steps, first, unit, places, data, gaps}) {
    const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
    const values = new Float64Array(count), scale = 10 ** places;
    let at = 0, value = first, i = 0;
    if (steps && count) values[i++] = first / scale;
    for (; i < count; i++) {
      let number = 0, weight = 1, byte;
      do { byte = bytes[at++]; number += (byte & 127) * weight; weight *= 128; } while (byte & 128);
      number = (number % 2 ? -(number + 1) / 2 : number / 2) * unit;
      value = steps ? value + number : number;
      values[i] = value / scale;
    }
    for (const [from, length] of gaps || []) values.fill(NaN, from, from + length);
    return values;
  }

  function read({bars, fills, trades, lines}) {
    const t = unpack(bars.t), close = unpack(bars.close), scale = 10 ** bars.close.places;
    const [jump, above, below] = [bars.jump, bars.above, bars.below].map(unpack);
    const round = value => Math.round(value * scale) / scale;
    const open = close.map((c, i) => round((i ? close[i - 1] : c) + jump[i]));
    const opened = unpack(trades.opened), length = unpack(trades.length);
    return {
      step: bars.step, t, open, close,
      high: close.map((c, i) => round(Math.max(c, open[i]) + above[i])),
      low: close.map((c, i) => round(Math.min(c, open[i]) - below[i])),
      ends: t.map((at, i) => bars.step ? at + bars.step : t[i + 1] ?? bars.end),
      fills: {t: unpack(fills.t), price: unpack(fills.price), quantity: unpack(fills.quantity),
              count: unpack(fills.count), kind: unpack(fills.kind), names: fills.names},
      trades: {opened, closed: opened.map((at, i) => at + length[i]), entry: unpack(trades.entry),
               exit: unpack(trades.exit), gain: unpack(trades.gain), kind: unpack(trades.kind),
               names: trades.names},
      lines: lines.map(line => ({...line, values: unpack(line.values)})),
    };
  }

  // The first index whose value is at least `wanted`.
  function search(values, wanted) {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low;
  }

  // The length of candles at which all between two times have room; a day has its own bars.
  function lengthFor(step, span, width) {
    if (!step || span <= 1.05 * DAY) return step;
    const most = Math.max(320, width / 2.6);
    const longer = DAY % step ? [2, 3, 5, 10, 20, 50, 100, 200, 500].map(times => times * step)
      : LENGTHS.filter(length => length > step && length % step === 0);
    return [step, ...longer].find(length => span / length <= most)
      ?? step * Math.ceil(span / step / most);
  }

  // Days begin at 00:00 UTC, weeks on Mondays.
  const groupOf = (at, length) =>
    Math.floor((at - (length % (7 * DAY) === 0 ? 4 * DAY : 0)) / length);

  function candlesIn(data, from, to, length) {
    const found = {t: [], open: [], high: [], low: [], close: [], end: [], last: []};
    let group = null, at = -1;
    for (let i = Math.max(0, search(data.t, from - (length || 31 * DAY)));
         i < data.t.length && data.t[i] <= to; i++) {
      const next = length === data.step ? i : groupOf(data.t[i], length);
      if (next !== group) {
        group = next; at++;
        for (const name of ["t", "open", "high", "low"]) found[name][at] = data[name][i];
      }
      found.high[at] = Math.max(found.high[at], data.high[i]);
      found.low[at] = Math.min(found.low[at], data.low[i]);
      found.close[at] = data.close[i]; found.end[at] = data.ends[i]; found.last[at] = i;
    }
    return found;
  }

  // One mark a fill, or one for the buys and one for the sells of a stretch of time.
  function marksIn({t, price, quantity, count, kind, names}, from, to, length) {
    const first = search(t, from), end = search(t, to + 1), merged = end - first > MAX_MARKS;
    const found = {buy: [], sell: []}, open = {};
    let fills = 0;
    for (let i = first; i < end; i++) {
      const [side, text] = names[kind[i]], group = groupOf(t[i], length);
      fills += count[i];
      let mark = open[side];
      if (!merged || !mark || mark.group !== group) {
        mark = open[side] = {group, count: 0, quantity: 0, paid: 0, text};
        found[side].push(mark);
      }
      mark.t = t[i]; mark.count += count[i]; mark.quantity += quantity[i];
      mark.paid += quantity[i] * price[i];
      mark.price = mark.count === 1 ? price[i] : mark.paid / mark.quantity;
    }
    return {...found, fills};
  }

  function tradesIn({opened, closed}, from, to, shortest) {
    const found = [];
    for (let i = search(closed, from); i < closed.length && opened[i] <= to; i++) found.push(i);
    const drawn = found.length <= MAX_TRADES ? found
      : found.filter(i => closed[i] - opened[i] >= shortest);
    return [drawn, found.length];
  }

  const plain = value => value.toLocaleString("en-US", {maximumSignificantDigits: 9});
  const safe = text => text.replace(/[&<>%]/g, char => `&#${char.charCodeAt(0)};`);
  const clock = at => new Date(at).toISOString().slice(0, at % MINUTE ? 19 : 16).replace("T", " ");
  const unitOf = ms => ms % (7 * DAY) === 0 ? `${ms / 7 / DAY} w` : ms % DAY === 0 ? `${ms / DAY} d`
    : ms % (60 * MINUTE) === 0 ? `${ms / 60 / MINUTE} h` : `${ms / MINUTE} min`;
  const counted = (count, what) =>
    `${count.toLocaleString("en-US")} ${what}${count === 1 ? "" : "s"}`;

  function markTrace(side, marks, color, card) {
    const size = marks.length > 400 ? 5 : marks.length > 120 ? 7 : 10;
    return {
      type: "scatter", mode: "markers", name: side, x: marks.map(mark => mark.t),
      y: marks.map(mark => mark.price), meta: side,
      hovertemplate: "%{text}<extra></extra>",
      text: marks.map(({count, quantity, price, text, t}) => count === 1
        ? `${side} ${plain(quantity)} at ${plain(price)}, ${safe(text)}<br>${clock(t)}`
        : `${counted(count, "fill")}: ${side} ${plain(quantity)} at ${plain(price)} on average<br>`
          + `until ${clock(t)}`),
      marker: {color, size, symbol: side === "buy" ? "triangle-up" : "triangle-down",
               line: {color: card, width: 0.8}},
    };
  }

  // Lines from entry to exit, with a gap between two.
  function tradeTrace(name, {opened, closed, entry, exit}, numbers, color, width = 1.5) {
    const x = [], y = [];
    for (const i of numbers) {
      x.push(opened[i], closed[i], null);
      y.push(entry[i], exit[i], null);
    }
    return {type: "scatter", mode: "lines", name, x, y, hoverinfo: "skip",
            line: {color, width, dash: width > 2 ? "solid" : "dot"}};
  }

  function describe(trades, number) {
    const [side, entry, exit] = trades.names[trades.kind[number]], gain = trades.gain[number];
    return `Trade ${number + 1} of ${trades.opened.length}: ${side}, `
      + `${clock(trades.opened[number])} to ${clock(trades.closed[number])}, `
      + `in at ${plain(trades.entry[number])} (${entry}), `
      + `out at ${plain(trades.exit[number])} (${exit}), `
      + `${gain < 0 ? "" : "+"}${gain.toLocaleString("en-US", {minimumFractionDigits: 2})} USD`;
  }

  const padded = (low, high) => {
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    return [low - pad, high + pad];
  };

  // The part between two times: its traces, the ranges of the axes, and a note about it.
  function view(data, [from, to], css, width, selected) {
    const color = name => css.getPropertyValue(`--${name}`).trim();
    const length = lengthFor(data.step, to - from, width), beside = (to - from) / 2;
    const candles = candlesIn(data, from - beside, to + beside, length);
    const stretch = Math.max(length || 0, (to - from) / 500);
    const marks = marksIn(data.fills, from - beside, to + beside, stretch);
    const {trades} = data, [shown, count] = tradesIn(trades, from, to, (to - from) / width);
    const panels = [...new Set(data.lines.map(line => line.panel).filter(Boolean))];
    const ends = {};
    const take = (axis, y) => {
      if (!Number.isFinite(y)) return;
      const [low, high] = ends[axis] || [Infinity, -Infinity];
      ends[axis] = [Math.min(low, y), Math.max(high, y)];
    };
    const isVisible = candles.t.map((at, i) => candles.end[i] > from && at < to);
    candles.t.forEach((_, i) => {
      if (isVisible[i]) { take("y", candles.low[i]); take("y", candles.high[i]); }
    });
    for (const i of shown) { take("y", trades.entry[i]); take("y", trades.exit[i]); }
    const rise = color("up"), fall = color("down");
    const traces = [{
      type: "candlestick", name: "candles", x: candles.t.map((at, i) => (at + candles.end[i]) / 2),
      open: candles.open, high: candles.high, low: candles.low, close: candles.close,
      increasing: {line: {color: rise, width: 1}, fillcolor: rise},
      decreasing: {line: {color: fall, width: 1}, fillcolor: fall}, opacity: 0.75,
      hoverinfo: "text", showlegend: false, whiskerwidth: 0,
      text: candles.t.map((at, i) => `${clock(at)} to ${clock(candles.end[i])}<br>`
        + ["open", "high", "low", "close"].map(name => `${name} ${plain(candles[name][i])}`)
          .join(", ")),
    }];
    data.lines.forEach(({name, panel, values}, number) => {
      const axis = panel ? `y${panels.indexOf(panel) + 2}` : "y";
      const y = candles.last.map(i => Number.isNaN(values[i]) ? null : values[i]);
      y.forEach((value, i) => { if (value !== null && isVisible[i]) take(axis, value); });
      traces.push({type: "scatter", mode: "lines", name: safe(name), x: candles.end, y,
                   line: {color: color(`c${number % 10}`), width: 1.3}, meta: "line", yaxis: axis,
                   hovertemplate: "%{fullData.name} %{y:.8~g}<extra></extra>"});
    });
    const won = shown.filter(i => trades.gain[i] > 0);
    const lost = shown.filter(i => !(trades.gain[i] > 0));
    traces.push(tradeTrace("won", trades, won, color("buy")),
                tradeTrace("lost", trades, lost, color("sell")));
    const chosen = selected === null ? [] : [selected];
    traces.push({...tradeTrace("chosen trade", trades, chosen, color("accent"), 3),
                 showlegend: chosen.length > 0});
    for (const side of ["buy", "sell"]) {
      for (const mark of marks[side]) if (mark.t >= from && mark.t <= to) take("y", mark.price);
      traces.push(markTrace(side, marks[side], color(side), color("card")));
    }
    const ranges = Object.fromEntries(
      Object.entries(ends).map(([axis, [low, high]]) => [axis, padded(low, high)]));
    const fills = marksIn(data.fills, from, to, length || DAY).fills;
    const note = `Shown: ${length ? `candles of ${unitOf(length)}` : "candles"}, `
      + `${counted(fills, "fill")}, ${counted(count, "trade")}.`;
    return {traces, ranges, note, panels, candles};
  }

  // The layout with room for the panels below the price.
  function arrange(layout, {ranges, panels}, [from, to], selected, trades, css) {
    const share = panels.length ? Math.min(0.2, 0.5 / panels.length) : 0;
    const room = share * panels.length, domain = [room ? room + 0.03 : 0, 1];
    const arranged = {...layout, xaxis: {...layout.xaxis, range: [from, to]},
                      yaxis: {...layout.yaxis, domain, range: ranges.y}};
    panels.forEach((panel, number) => {
      const top = room - number * share, key = `yaxis${number + 2}`;
      arranged[key] = {...layout.yaxis, domain: [top - share + 0.02, top], nticks: 4,
                       range: ranges[`y${number + 2}`],
                       title: {text: safe(panel), font: {size: 11}}};
      arranged.xaxis.anchor = `y${number + 2}`;
    });
    if (selected !== null) {
      arranged.shapes = [{type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below",
                          x0: trades.opened[selected], x1: trades.closed[selected],
                          line: {width: 0}, fillcolor: css.getPropertyValue("--band").trim()}];
    }
    return arranged;
  }

  // The trade that a time lies in, the nearest one otherwise.
  function tradeAt({opened, closed}, at) {
    const number = search(closed, at);
    if (number < closed.length && opened[number] <= at) return number;
    const before = Math.max(0, number - 1), next = Math.min(number, closed.length - 1);
    return at - closed[before] < opened[next] - at ? before : next;
  }

  // A trade with room on both sides.
  function around({step, trades}, number, span) {
    const {opened, closed} = trades;
    const room = Math.max(0.6 * (closed[number] - opened[number]), 20 * (step || DAY));
    return [Math.max(span[0], opened[number] - room), Math.min(span[1], closed[number] + room)];
  }

  return {unpack, lengthFor, read, view, arrange, describe, tradeAt, around, search};
})();
"""
