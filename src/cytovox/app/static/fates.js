// What becomes of objects: names, colours, outlines, counts.

import { el, number, svg } from "./dom.js";

/** Fate, its colour on grey images, and what it means. */
export const FATES = [
  ["kept", "#29b8ff", "an event"],
  ["border", "#ff9d2e", "touches the border of the image"],
  ["merged", "#c792ff", "lies in a hole of another object"],
  ["opening", "#ffe14d", "too thin for the opening"],
  ["size", "#ff5f7a", "too few pixels"],
  ["gate", "#3ddc97", "outside the online gates"],
  ["contour", "#f4f4f4", "its outline has no area"],
  ["repeated", "#a9b4bd", "its frame repeats the one before"],
];
const COLOURS = Object.fromEntries(FATES.map(([name, colour]) => [name, colour]));

/** Draw outlines; those of lost objects are dashed, so that colour is not all that tells. */
export function drawOutlines(context, objects, place, scale) {
  const width = Math.max(1.3, Math.min(2, scale * 1.2));
  context.lineJoin = "round";
  for (const [fate, colour] of [...FATES].reverse()) {
    context.beginPath();
    for (const object of objects) {
      if (object.fate !== fate) continue;
      const [left, top] = place(object);
      const points = object.outline;
      context.moveTo(left + (points[0] + 0.5) * scale, top + (points[1] + 0.5) * scale);
      for (let i = 2; i < points.length; i += 2) {
        context.lineTo(left + (points[i] + 0.5) * scale, top + (points[i + 1] + 0.5) * scale);
      }
      context.closePath();
    }
    context.lineWidth = width + 1.6; // a dark rim, since frames are as bright as the colours
    context.strokeStyle = "rgb(0 0 0 / 55%)";
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.setLineDash(fate === "kept" ? [] : [4, 2]);
    context.stroke();
    context.setLineDash([]);
  }
}

export function polygon(object, attributes) {
  const points = [];
  for (let i = 0; i < object.outline.length; i += 2) {
    points.push(`${object.outline[i] + 0.5},${object.outline[i + 1] + 0.5}`);
  }
  return svg("polygon", {
    points: points.join(" "),
    stroke: COLOURS[object.fate],
    "stroke-dasharray": object.fate === "kept" ? null : "3 2",
    ...attributes,
  });
}

export function swatch(fate) {
  const line = { x1: 1, x2: 21, y1: 6, y2: 6, stroke: COLOURS[fate], "stroke-width": 3 };
  if (fate !== "kept") line["stroke-dasharray"] = "5 3";
  return svg("svg", { class: "swatch", viewBox: "0 0 22 12", width: 22, height: 12, "aria-hidden": "true" },
    svg("rect", { width: 22, height: 12, rx: 2, class: "swatch-ground" }), svg("line", line));
}

/** A table of what was found, kept and lost by cause. */
export function countsTable(counts, caption) {
  const row = (fate, value, meaning) =>
    el("tr", { "data-fate": fate },
      el("th", { scope: "row" }, fate === "found" ? null : swatch(fate), ` ${fate}`),
      el("td", { class: "number" }, number(value)),
      el("td", { class: "quiet meaning" }, meaning));
  return el("table", { class: "counts" },
    el("caption", {}, caption),
    el("tbody", {},
      row("found", counts.found, "objects in the masks"),
      row("kept", counts.kept, "events"),
      ...FATES.slice(1)
        .filter(([fate]) => counts.lost[fate])
        .map(([fate, , meaning]) => row(fate, counts.lost[fate], meaning))));
}

export function inWords(counts) {
  const lost = Object.entries(counts.lost).filter(([, value]) => value);
  const causes = lost.map(([cause, value]) => `${cause} ${value}`).join(", ");
  return `${counts.found} found, ${counts.kept} kept${causes ? `, lost: ${causes}` : ""}`;
}
