"""The pages' style sheet: one restrained style, light and dark, from 390 px up."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f7f7f5; --card: #ffffff; --ink: #1b1e23; --muted: #5d636d; --line: #e2e3e6;
  --grid: #ececee; --axis: #c4c7cd; --accent: #2456c4; --hold: #8d929c; --shadow: #a8590a;
  --up: #0a7d6c; --down: #c0392b; --buy: #0a7d6c; --sell: #c0392b; --warn: #b45309;
  --warn-bg: #fdf0d5; --band: rgba(36, 86, 196, .16); --shadow-band: rgba(168, 89, 10, .16);
  --fall: rgba(192, 57, 43, .18); --watermark: rgba(180, 83, 9, .13);
  --c0: #2456c4; --c1: #c2570c; --c2: #0a7d6c; --c3: #a3337f; --c4: #7a6a0a; --c5: #5b48c9;
  --c6: #14779c; --c7: #b3293f; --c8: #4d7c1f; --c9: #6b7280;
  --outage-0: #f6d98a; --outage-1: #d99a1c; --gap-0: #f3a79c; --gap-1: #c0392b;
  --ok: #55b58a; --ok-bg: #dff3e8; --ok-ink: #1c6b49; --stale-ink: #8f4208;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #101214; --card: #181b1f; --ink: #e8eaed; --muted: #9aa1ac; --line: #2b2f36;
    --grid: #25292f; --axis: #474d57; --accent: #7ea6ff; --hold: #858c98; --shadow: #f0a04b;
    --up: #3fbfa5; --down: #f0776a; --buy: #3fbfa5; --sell: #f0776a; --warn: #f5b04c;
    --warn-bg: #3a2a0d; --band: rgba(126, 166, 255, .2); --shadow-band: rgba(240, 160, 75, .2);
    --fall: rgba(240, 119, 106, .22); --watermark: rgba(245, 176, 76, .15);
    --c0: #7ea6ff; --c1: #f0a04b; --c2: #3fbfa5; --c3: #e58cc6; --c4: #d6c34a; --c5: #a99bff;
    --c6: #5bc0e8; --c7: #f0776a; --c8: #a3cf6b; --c9: #a5adba;
    --outage-0: #7d6222; --outage-1: #f5b04c; --gap-0: #8a3d35; --gap-1: #f0776a;
    --ok: #2b7d5c; --ok-bg: #14352a; --ok-ink: #7fdcb4; --stale-ink: #f5b04c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); overflow-wrap: break-word;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 2px; }
h3 { font-size: 14px; margin: 18px 0 6px; color: var(--muted); font-weight: 600; }
p { margin: 0 0 8px; }
a { color: var(--accent); text-underline-offset: 2px; }
code, pre, .mono { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: 6px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.mono { overflow-wrap: anywhere; }
.banner { position: sticky; top: 0; z-index: 20; padding: 7px 16px; text-align: center;
  font-weight: 600; color: var(--warn); background: var(--warn-bg);
  border-bottom: 1px solid var(--warn); }
.facts { color: var(--muted); margin-bottom: 0; }
.caution { margin: 8px 0 0; padding: 5px 10px; max-width: 100ch; color: var(--warn);
  background: var(--warn-bg); border-left: 3px solid var(--warn); }
nav { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 12px 0 20px; font-size: 14px; }
.note { color: var(--muted); font-size: 13px; margin-bottom: 10px; max-width: 80ch; }
section, .tiles > div { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
section { padding: 18px 20px; margin-top: 16px; scroll-margin-top: 44px; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; }
.tiles > div { padding: 14px 16px; }
.tiles dt, .tiles dd { margin: 0; }
.tiles .name { color: var(--muted); font-size: 13px; }
.tiles .value { font-size: 25px; line-height: 1.3; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.tiles .beside { color: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr));
  gap: 0 36px; }
.columns.stacked { grid-template-columns: minmax(0, 1fr); }
.columns > div { min-width: 0; margin-bottom: 12px; }
.columns > div > .scroll { max-height: none; }
.columns .words-1 td:first-child { white-space: normal; min-width: 9rem; }
figure { margin: 0; min-width: 0; }
figure + p { margin-top: 12px; }
.chart { width: 100%; min-width: 0; }
.scroll { overflow: auto; max-height: 34rem; max-width: 100%;
  background: linear-gradient(to right, var(--card) 40%, transparent) 0 0 / 44px 100% local,
    linear-gradient(to left, var(--card) 40%, transparent) 100% 0 / 44px 100% local,
    linear-gradient(to right, var(--axis), transparent) 0 0 / 18px 100% scroll,
    linear-gradient(to left, var(--axis), transparent) 100% 0 / 18px 100% scroll;
  background-repeat: no-repeat; }
.scroll::-webkit-scrollbar { width: 9px; height: 9px; }
.scroll::-webkit-scrollbar-thumb { background: var(--axis); border-radius: 5px; }
.scroll + .scroll { margin-top: 12px; }
.rows { color: var(--muted); font-size: 12px; margin: 4px 0 0; text-align: right; }
table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: top; }
th:last-child, td:last-child { padding-right: 2px; }
th { font-weight: 600; color: var(--muted); position: sticky; top: 0; background: var(--card);
  white-space: normal; vertical-align: bottom;
  z-index: 1; }
tbody tr:last-child td { border-bottom: 0; }
.words-1 :is(th, td):nth-child(-n+1), .words-2 :is(th, td):nth-child(-n+2),
.words-3 :is(th, td):nth-child(-n+3), .words-4 :is(th, td):nth-child(-n+4),
.words-5 :is(th, td):nth-child(-n+5), .words-6 :is(th, td):nth-child(-n+6),
.words-9 :is(th, td), .words-last :is(th, td):nth-last-child(-n+2) {
  text-align: left;
}
.day { white-space: nowrap; }
.fold { display: inline-block; white-space: normal; min-width: 5.5rem; }
td.wrap, .wrap { white-space: normal; min-width: 16rem; }
th button { all: unset; cursor: pointer; }
th button:focus-visible, a:focus-visible, .scroll:focus-visible, input:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "\\2195"; opacity: .35; padding-left: 3px; }
th[aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: "\\2193"; opacity: 1; }
.up { color: var(--up); } .down { color: var(--down); } .dim { color: var(--muted); }
.warn { color: var(--warn); font-weight: 600; }
.months td, .months th { text-align: center; padding: 6px 4px; }
.months td { border: 2px solid var(--card); border-radius: 5px; }
.months :is(td, th):first-child { text-align: left; font-weight: 600; color: var(--muted);
  position: sticky; left: 0; background: var(--card); z-index: 2; }
.months td[style] { background: color-mix(in srgb, var(--heat) var(--share), transparent); }
.months :is(td, th):last-child { font-weight: 600; border-left: 8px solid var(--card); }
details { border-top: 1px solid var(--line); padding: 8px 0; }
details:last-child { padding-bottom: 0; }
summary { cursor: pointer; }
.pill { display: inline-block; padding: 0 8px; border-radius: 9px; font-size: 12px;
  font-weight: 600; background: var(--ok-bg); color: var(--ok-ink); }
.pill.stale { background: var(--warn-bg); color: var(--stale-ink); }
.pill.gone { background: var(--line); color: var(--muted); }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; }
.swatch.dotted { background-image: linear-gradient(90deg, transparent 35%, var(--card) 35% 65%,
  transparent 65%) !important; }
.below { display: block; color: var(--muted); font-size: 11px; white-space: nowrap; }
.choice { display: flex; flex-wrap: wrap; gap: 6px 14px; margin: 4px 0 10px; font-size: 14px; }
.graph { max-height: 40rem; }
.graph svg { display: block; width: 100%; height: auto; }
.edge { fill: none; stroke: var(--axis); }
.node rect { fill: var(--ok-bg); stroke: var(--ok); }
.node.stale rect { fill: var(--warn-bg); stroke: var(--warn); }
.node.idle rect { fill: var(--bg); stroke: var(--axis); }
.node text { fill: var(--ink); font-size: 11px; font-weight: 600; }
.node .sub { fill: var(--muted); font-size: 10px; font-weight: 400; }
.tall { max-height: 40rem; }
.narrow { max-width: 28rem; }
.zoom { display: flex; flex-wrap: wrap; gap: 6px; }
.zoom button { font: inherit; font-size: 13px; padding: 3px 12px; color: var(--ink);
  background: var(--bg); border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
.zoom button:hover { border-color: var(--axis); }
.zoom + .zoom, .zoom + .trade { margin-top: 6px; }
.zoom button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
.trade { min-height: 1.5em; margin: 4px 0 0; font-size: 13px; }
tr.chosen td { background: var(--band); }
tr:has(a[data-trade]) { cursor: pointer; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 8px; font-size: 13px;
  color: var(--muted); }
.keys .swatch { margin-right: 6px; }
[hidden] { display: none !important; }
#drawn-table td:first-child { white-space: normal; min-width: 7rem; }
@media (max-width: 640px) {
  main { padding: 18px 12px 48px; }
  section { padding: 14px 12px; }
  h1 { font-size: 21px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tiles > div { padding: 10px 12px; }
  .tiles .value { font-size: 20px; }
  .tiles .beside { font-size: 12px; }
  th, td { padding-right: 6px; }
  table { font-size: 12px; }
  .columns td:first-child, #luck-table td:first-child { white-space: normal; min-width: 5rem; }
  .stacked tr { display: flex; flex-wrap: wrap; }
  .stacked :is(th, td) { flex: 1 1 0; }
  .stacked :is(th, td):first-child { flex: 0 0 100%; border-bottom: 0; padding-bottom: 0; }
  #strategies-table td:nth-child(2) { white-space: normal; overflow-wrap: anywhere;
    min-width: 5rem; }
  #strategies-table th button::after { content: none; }
  .pill { white-space: normal; padding: 0 5px; font-size: 11px; max-width: 5.2rem; }
  .below { white-space: normal; }
  .months { font-size: 10px; }
  .months td, .months th { padding: 5px 1px; }
  .months td { border-width: 1px; }
}
@media print {
  .banner { position: static; } nav { display: none; } .scroll { max-height: none; }
  section { break-inside: avoid; }
}
"""
