// Landscapes: a heat map as in the terminal (batch size down, GPU count across) and the same numbers as a surface.
const METRICS = [
  { id: "throughput", label: "tokens/s", word: "throughput", more: true, of: (land, cell) => land.values[cell] },
  { id: "perGpu", label: "tokens/s per GPU", word: "throughput per GPU", more: true, of: (land, cell) => land.values[cell] / gpusOf(land, cell) },
  { id: "cost", label: "cost per million tokens", word: "cost per million tokens", more: false, needs: (land) => land.price,
    of: (land, cell) => land.price * gpusOf(land, cell) / (land.values[cell] * 3600) * 1e6 },
  { id: "joule", label: "tokens per joule", word: "energy efficiency", more: true, needs: (land) => land.joule, of: (land, cell) => land.joule?.[cell] },
  { id: "seconds", label: "seconds per output token", word: "time per output token", more: false, of: secondsPerToken },
  { id: "perSequence", label: "tokens/s per sequence", word: "speed of one sequence", more: true, of: (land, cell) => land.values[cell] / batchOf(land, cell) },
];
const MOST_CELLS = 20000; // more than a screen has room for
const MOST_NUMBERS = 400; // in cells
const gpusOf = (land, cell) => land.counts[cell % land.counts.length];
const batchOf = (land, cell) => land.batches[Math.floor(cell / land.counts.length)];
function secondsPerToken(land, cell) {
  return land.seconds?.[cell] ?? batchOf(land, cell) / land.values[cell];
}
function metricAt(metric, land, cell) {
  if (land.states[cell] !== "m" || !land.values) return null;
  const value = metric.of(land, cell);
  return value === undefined || !Number.isFinite(value) ? null : value;
}
const configuration = (land, cell) => `${count(gpusOf(land, cell), land.device)}, batch size ${whole(batchOf(land, cell))}`;
const nameOf = (land) => `${land.model}, ${land.engine} on ${land.gpu}`;
function whichOf(land) {
  const parts = [land.study, land.pool === land.gpu ? "" : land.pool, `round ${land.round}`];
  if (LANDSCAPES.some((other) => other !== land && other.study === land.study && other.source !== land.source)) parts.push(land.source);
  return parts.filter(Boolean).join(" · ");
}
const CHOICE = [["Model", (land) => land.model], ["Engine", (land) => land.engine], ["GPU model", (land) => land.gpu], ["Study", whichOf]];

// A measured configuration that breaks a constraint, or lacks a metric of the study: it cannot be recommended.
const barred = (land, cell) => land.states[cell] === "m" && land.why?.[cell] !== undefined;

function bestCell(metric, land) {
  let best = null;
  for (let cell = 0; cell < land.states.length; cell++) {
    const value = metricAt(metric, land, cell);
    if (value === null) continue;
    if (best === null || (metric.more ? value > best.value : value < best.value)) best = { cell, value };
  }
  return best;
}

function hoverText(land, cell, metric, value) {
  const lines = [configuration(land, cell)];
  const mark = DATA.marks[land.states[cell]];
  if (value !== null) lines.push(`${number(value)} ${metric.label}`);
  if (value !== null && metric.id === "throughput" && land.low?.[cell] != null) lines.push(`95 % interval ${number(land.low[cell])} to ${number(land.high[cell])}`);
  if (value !== null && land.spread?.[cell] != null) lines.push(`spread of the repeats ${(100 * land.spread[cell]).toFixed(1)} %`);
  if (mark) lines.push(mark[1]);
  if (land.why?.[cell] !== undefined) lines.push(shorten(DATA.reasons[land.why[cell]], 120));
  if (land.extra?.[cell]) lines.push(shorten(land.extra[cell], 120));
  if (land.variants?.[cell]) lines.push(`best of ${land.variants[cell]} variants`);
  if (land.reused?.has(cell)) lines.push("measured by another study");
  return lines.map(plain).join("<br>");
}

// Rows and columns as drawn; of a block of cells that share a pixel the best one is drawn.
function gridOf(land, metric) {
  const rows = land.batches.length, columns = land.counts.length;
  const step = Math.ceil(Math.sqrt(rows * columns / MOST_CELLS));
  const rowStep = Math.min(step, rows), columnStep = Math.ceil(Math.max(rows * columns / MOST_CELLS / rowStep, 1));
  const grid = { x: [], y: [], z: [], cells: [], isThinned: rowStep > 1 || columnStep > 1,
    fieldOf: (cell) => [Math.floor(cell % columns / columnStep), Math.floor(Math.floor(cell / columns) / rowStep)] };
  for (let column = 0; column < columns; column += columnStep) grid.x.push(String(land.counts[column]));
  for (let row = 0; row < rows; row += rowStep) {
    grid.y.push(String(land.batches[row]));
    const values = [], cells = [];
    for (let column = 0; column < columns; column += columnStep) {
      let best = { value: null, cell: row * columns + column };
      for (let down = row; down < Math.min(row + rowStep, rows); down++) {
        for (let across = column; across < Math.min(column + columnStep, columns); across++) {
          const value = metricAt(metric, land, down * columns + across);
          if (value !== null && (best.value === null || (metric.more ? value > best.value : value < best.value))) best = { value, cell: down * columns + across };
        }
      }
      values.push(best.value);
      cells.push(best.cell);
    }
    grid.z.push(values);
    grid.cells.push(cells);
  }
  return grid;
}

function cellText(land, cell, value, isNarrow, isMarked) {
  const reused = land.reused?.has(cell) ? DATA.reused : "";
  if (value !== null) return (isMarked || (barred(land, cell) ? `${DATA.barred} ` : "")) + (isNarrow ? compact(value) : number(value)) + reused;
  const state = land.states[cell];
  const bound = state === "r" && land.values?.[cell] != null ? compact(land.values[cell]) : "";
  return plain((DATA.marks[state]?.[0] ?? "") + bound) + reused;
}

// Black or white, whichever has more contrast with the colour below it: equal at about 0.45 of this colour scale.
const DARK_SHARE = 0.45;
function numbersOver(grid, text, metric, isNarrow) {
  const values = grid.z.flat().filter((value) => value !== null);
  const least = Math.min(...values), most = Math.max(...values);
  const colour = (value) => {
    if (value === null) return style("--ink");
    const share = most > least ? (value - least) / (most - least) : 0.5;
    return (metric.more ? share : 1 - share) > DARK_SHARE ? "#000" : "#fff";
  };
  return {
    type: "scatter", mode: "text", hoverinfo: "skip", showlegend: false, x: grid.y.flatMap(() => grid.x), y: grid.y.flatMap((batch) => grid.x.map(() => batch)),
    text: text.flat(), textfont: { size: isNarrow ? 10 : 13, color: grid.z.flat().map(colour) }, cliponaxis: false,
  };
}

function drawHeatmap(picture, land, metric) {
  const grid = gridOf(land, metric);
  const width = picture.target.clientWidth || 600;
  const hasNumbers = grid.x.length * grid.y.length <= MOST_NUMBERS && width / grid.x.length > 34;
  const isNarrow = width / grid.x.length < 78;
  const best = bestCell(metric, land);
  const recommended = land.recommended ? land.best : null;
  const marked = (cell) => (cell === recommended || (recommended === null && cell === best?.cell) ? "★ " : cell === best?.cell ? "☆ " : "");
  const text = grid.cells.map((row, i) => row.map((cell, j) => (hasNumbers ? cellText(land, cell, grid.z[i][j], isNarrow, marked(cell)) : "")));
  const hover = grid.cells.map((row, i) => row.map((cell, j) => hoverText(land, cell, metric, grid.z[i][j])));
  const empty = grid.cells.map((row, i) => row.map((cell, j) => (grid.z[i][j] === null && land.states[cell] !== " " ? 1 : null)));
  const shared = { type: "heatmap", x: grid.x, y: grid.y, hovertext: hover, hoverinfo: "text" };
  const gap = hasNumbers ? 2 : 0;
  const traces = [
    { ...shared, z: empty, colorscale: [[0, style("--empty")], [1, style("--empty")]], showscale: false, xgap: gap, ygap: gap },
    { ...shared, z: grid.z, colorscale: "Viridis", reversescale: !metric.more, xgap: gap, ygap: gap,
      colorbar: { title: { text: plain(metric.label), side: "right" }, thickness: 12, outlinewidth: 0, tickfont: { size: 11 } } },
  ];
  if (hasNumbers) traces.push(numbersOver(grid, text, metric, isNarrow));
  const framed = [recommended ?? best?.cell].filter((cell) => cell !== undefined && cell !== null);
  const shapes = framed.flatMap((cell) => {
    const [x, y] = grid.fieldOf(cell);
    const box = { type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5 };
    return [{ ...box, line: { color: "#000", width: 6 } }, { ...box, line: { color: "#fff", width: 2.5 } }];
  });
  plot(picture.target, traces, {
    height: Math.max(260, Math.min(560, 70 + 34 * grid.y.length)), shapes,
    xaxis: axis(`${land.device}s`, { type: "category", side: "top", showgrid: false, fixedrange: true }),
    yaxis: axis("batch size", { type: "category", autorange: "reversed", showgrid: false, fixedrange: true }),
  }, `Heat map of ${nameOf(land)}: ${metric.label} by batch size (down) and number of ${land.device}s (across).`);
  showTitle(picture, land, metric);
  showLegend(picture, land, recommended, best, { hasNumbers, isThinned: grid.isThinned });
  picture.say(landscapeSentence(land, metric, best));
  const rows = [];
  for (let cell = 0; cell < land.states.length && rows.length <= MOST_TABLE_ROWS; cell++) {
    if (land.states[cell] === " ") continue;
    const why = land.why?.[cell] !== undefined ? DATA.reasons[land.why[cell]] : DATA.marks[land.states[cell]]?.[1] ?? "measured";
    rows.push([batchOf(land, cell), gpusOf(land, cell), metricAt(metric, land, cell) ?? "", why]);
  }
  picture.tell(["batch size", `${land.device}s`, metric.label, "outcome"], rows);
}

function showTitle(picture, land, metric) {
  const facts = [whichOf(land), land.software, land.date, land.simulated ? "simulated" : ""].filter(Boolean).join(" · ");
  picture.place.querySelector(".title").textContent = `${nameOf(land)}: ${metric.label}`;
  picture.place.querySelector(".facts").textContent = facts;
}

function showLegend(picture, land, recommended, best, { hasNumbers, isThinned }) {
  const entries = [];
  if (!hasNumbers && (recommended !== null || best)) entries.push(["□", "best"]);
  if (hasNumbers && recommended !== null) entries.push(["★", "best"]);
  if (hasNumbers && best && best.cell !== recommended) entries.push([recommended === null ? "★" : "☆", recommended === null ? "best" : "best of what is shown"]);
  const counts = {};
  for (const state of land.states) counts[state] = (counts[state] ?? 0) + 1;
  for (const [state, [mark, meaning]] of Object.entries(DATA.marks)) if (counts[state] && mark) entries.push([mark, `${meaning} (${whole(counts[state])})`]);
  const violations = Object.keys(land.why ?? {}).filter((cell) => barred(land, cell));
  if (violations.length) entries.push([DATA.barred, `cannot be recommended: ${shorten(unique(violations.map((cell) => DATA.reasons[land.why[cell]])).join("; "), 120)} (${violations.length})`]);
  if (land.reused) entries.push([DATA.reused, `measured by another study (${land.reused.size})`]);
  if (land.variants) entries.push(["", "cells with several variants show the best"]);
  if (isThinned) entries.push(["", `drawn coarser: each field shows the best of several of the ${whole(land.states.length)} cells`]);
  picture.place.querySelector(".legend").replaceChildren(...entries.map(([mark, meaning]) =>
    element("li", {}, ...(mark ? [element("b", { textContent: mark }), " "] : []), meaning)));
}

function landscapeSentence(land, metric, best) {
  if (best === null) return `No configuration of ${nameOf(land)} has a number here.`;
  const values = [];
  for (let cell = 0; cell < land.states.length; cell++) {
    const value = metricAt(metric, land, cell);
    if (value !== null) values.push(value);
  }
  const factor = metric.more ? best.value / median(values) : median(values) / best.value;
  const rest = values.length > 2 && Number.isFinite(factor) ? `, ${times(factor)} ${metric.more ? "" : "below "}the median of the ${whole(values.length)} measured configurations` : "";
  return `${metric.more ? "Highest" : "Lowest"} ${metric.word}: ${configuration(land, best.cell)} with ${number(best.value)} ${metric.label}${rest}.`;
}

function drawSurface(picture, land, metric) {
  const grid = gridOf(land, metric);
  const known = (i, j) => grid.z[i]?.[j] != null;
  if (!grid.z.some((row, i) => row.some((_, j) => known(i, j) && known(i + 1, j) && known(i, j + 1) && known(i + 1, j + 1)))) {
    if (picture.target.data) Plotly.purge(picture.target);
    picture.target.replaceChildren();
    picture.say("Too few neighbouring configurations have a number for a surface; the heat map has them all.");
    return;
  }
  const ticks = (values) => ({ tickvals: values.map((_, place) => place).filter((place) => place % Math.ceil(values.length / 12) === 0), ticktext: values.filter((_, place) => place % Math.ceil(values.length / 12) === 0) });
  const hover = grid.cells.map((row, i) => row.map((cell, j) => hoverText(land, cell, metric, grid.z[i][j])));
  const away = picture.target.clientWidth < 480 ? 1.35 : 1; // labels need room
  const scene = { gridcolor: style("--grid"), zerolinecolor: style("--line"), showbackground: false };
  plot(picture.target, [{
    type: "surface", z: grid.z, x: grid.x.map((_, place) => place), y: grid.y.map((_, place) => place), hovertext: hover, hoverinfo: "text",
    colorscale: "Viridis", reversescale: !metric.more, showscale: false, connectgaps: false,
    contours: { x: { show: true, color: "rgba(0,0,0,.35)", start: 0, end: grid.x.length, size: 1 }, y: { show: true, color: "rgba(0,0,0,.35)", start: 0, end: grid.y.length, size: 1 } },
  }], {
    height: 460, margin: { l: 0, r: 0, t: 0, b: 0 },
    scene: {
      xaxis: { ...scene, title: { text: plain(`${land.device}s`) }, ...ticks(grid.x) },
      yaxis: { ...scene, title: { text: "batch size" }, ...ticks(grid.y) },
      zaxis: { ...scene, title: { text: plain(metric.label) } },
      camera: { eye: { x: -1.5 * away, y: -1.6 * away, z: 0.9 * away } }, aspectmode: "manual", aspectratio: { x: 1, y: 1.3, z: 0.8 },
    },
  }, `Surface of ${nameOf(land)}: ${metric.label} over number of ${land.device}s and batch size; the heat map has the same numbers.`);
  picture.say("The same numbers as a surface: drag to turn it. Gaps are configurations without a number.");
}

function landscapes() {
  let metric = METRICS[0];
  const heatmap = new Picture("heatmap", (picture) => drawHeatmap(picture, chosen(), metric));
  const surface = new Picture("surface", (picture) => drawSurface(picture, chosen(), metric));
  const redraw = () => { heatmap.update(); surface.update(); };
  const offered = METRICS.filter((each) => !each.needs || LANDSCAPES.some(each.needs));
  let chosen = () => LANDSCAPES[0];
  chosen = chooser("landscape-choice", LANDSCAPES, CHOICE, redraw);
  buttons("landscape-metric", "Number that the colour shows", offered.map((each) => [each.id, each.label]), (id) => {
    metric = METRICS.find((each) => each.id === id);
    redraw();
  });
}
