// A histogram of what is kept and what is lost, with the limits of the gate.

import { el, number, svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [420, 190, 44, 38, 20];

/** `lost` is null where nothing is lost. */
export function histogram({ feature, edges, kept, lost: gone, low, high }) {
  const lost = gone ?? kept.map(() => 0);
  const total = kept.map((value, index) => value + lost[index]);
  const most = Math.max(1, ...total);
  const [first, last] = [edges[0], edges.at(-1)];
  const x = (value) => LEFT + ((value - first) / (last - first || 1)) * (WIDTH - LEFT - 8);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
  const bar = (name, from, to, index) => svg("rect", {
    class: name, x: x(edges[index]), y: y(to),
    width: Math.max(0.5, x(edges[index + 1]) - x(edges[index]) - 0.6), height: y(from) - y(to),
  });
  const bars = total.flatMap((value, index) => [
    kept[index] ? bar("bar-kept", 0, kept[index], index) : null,
    lost[index] ? bar("bar-lost", kept[index], value, index) : null,
  ]);
  const limits = [[low, "above"], [high, "to"]]
    .filter(([value]) => value !== null && value >= first && value <= last)
    .map(([value, word]) => svg("g", { class: "limit" },
      svg("line", { x1: x(value), x2: x(value), y1: TOP - 6, y2: HEIGHT - BOTTOM }),
      svg("text", { x: x(value) + (x(value) > WIDTH - 90 ? -4 : 4), y: TOP - 8,
        "text-anchor": x(value) > WIDTH - 90 ? "end" : "start" }, `gate: ${word} ${number(value)}`)));
  const label = feature === "size" ? "size after the clean-up [px]" : feature;
  const outside = [low, high].some((v) => v !== null && (v < first || v > last));
  const text = `${kept.reduce((a, b) => a + b, 0)} kept and ${lost.reduce((a, b) => a + b, 0)} lost, ` +
    `from ${number(first)} to ${number(last)}`;
  return el("figure", {},
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Histogram of ${label}: ${text}` },
      ...bars.filter(Boolean), ...limits, ...axis(x, y, first, last, most),
      svg("text", { x: 2, y: TOP - 8 }, "objects"),
      svg("text", { class: "axis-label", x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, label)),
    gone && el("figcaption", { class: "quiet" },
      el("span", { class: "key key-kept" }), " kept ", el("span", { class: "key key-lost" }), " lost",
      outside && low !== null ? `; the gate keeps what is above ${number(low)}` : ""));
}

function axis(x, y, first, last, most) {
  const marks = [svg("line", { class: "axis", x1: LEFT, x2: WIDTH - 8, y1: y(0), y2: y(0) })];
  for (const value of ticks(first, last, 5)) {
    marks.push(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: y(0), y2: y(0) + 4 }),
      svg("text", { x: x(value), y: y(0) + 16, "text-anchor": "middle" }, number(value)));
  }
  for (const value of ticks(0, most, 3)) {
    if (Number.isInteger(value)) {
      marks.push(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
  }
  return marks;
}

function ticks(first, last, count) {
  const rough = (last - first) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let i = Math.ceil(first / step); i * step <= last; i++) found.push(+(i * step).toPrecision(12));
  return found;
}
