// Hardware, engines, retuning, relations and the course of a study: what the page was given ready to draw.
const MOST_BARS = 60;

// Rows by their number, so that names that are shortened to the same text stay apart; the first one is on top.
function rowAxis(names) {
  return { ...axis(""), tickmode: "array", tickvals: names.map((_, place) => place), ticktext: names.map((name) => plain(shortName(name, 28))), range: [names.length - 0.4, -0.6], zeroline: false };
}

// Horizontal boxes of ratios, one for each model: median, quartiles and extremes.
function boxes(name, comparisons, word) {
  if (!comparisons.length) return;
  const picture = new Picture(name, draw);
  let chosen = () => comparisons[0];
  chosen = chooser(`${name}-choice`, comparisons, [["Compared", (each) => `${each.second} against ${each.first}`], [word, (each) => each.other]], () => picture.update());
  function draw(its) {
    const comparison = chosen();
    const models = comparison.models.slice(0, MOST_BARS);
    const column = (key) => models.map((model) => model[key]);
    const colour = style("--series-0");
    plot(its.target, [{
      type: "box", orientation: "h", y: models.map((_, place) => place), lowerfence: column("least"), q1: column("q1"), median: column("median"), q3: column("q3"), upperfence: column("most"),
      line: { color: colour, width: 2 }, fillcolor: style("--box"), hoverinfo: "x", showlegend: false,
    }], {
      height: 110 + 34 * models.length, shapes: [{ type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { color: style("--ink"), width: 1.5, dash: "dash" } }],
      xaxis: axis(`${shorten(comparison.second, 20)} / ${shorten(comparison.first, 20)}`, { type: "log", tickmode: "array", tickvals: factors(models), ticktext: factors(models).map((value) => `${value}×`) }),
      yaxis: rowAxis(models.map((model) => model.model)),
    }, `Boxes of throughput ratios, one for each model: ${comparison.second} against ${comparison.first}.`);
    const gained = models.filter((model) => model.median > 1).length;
    const hidden = comparison.models.length > models.length ? ` Drawn are ${models.length} of ${comparison.models.length} models.` : "";
    its.say(`At the same GPU count and batch size, ${comparison.second} is faster than ${comparison.first} for ${gained} of ${count(comparison.models.length, "model")} by their medians; the median over the models is a factor of ${number(comparison.median)}. Right of the dashed line ${shorten(comparison.second)} is faster.${hidden}`);
    its.tell(["model", "pairs", "least", "lower quartile", "median", "upper quartile", "most"], comparison.models.map((model) => [model.model, model.n, model.least, model.q1, model.median, model.q3, model.most]));
  }
}
function factors(models) {
  const least = Math.min(1, ...models.map((model) => model.least)), most = Math.max(1, ...models.map((model) => model.most));
  const candidates = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const fine = [0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.5, 1.7, 3, 4];
  const inside = (values) => values.filter((value) => value >= least / 1.2 && value <= most * 1.2);
  return most / least > 8 ? inside(candidates) : inside([...candidates, ...fine]).sort(ascending);
}

function bars(name, groups) {
  if (!groups.length) return;
  const picture = new Picture(name, draw);
  let chosen = () => groups[0];
  chosen = chooser(`${name}-choice`, groups, [["Change", (each) => each.title]], () => picture.update());
  function draw(its) {
    const group = chosen();
    const shown = group.bars.slice(0, MOST_BARS);
    plot(its.target, [{
      type: "bar", orientation: "h", y: shown.map((_, place) => place), x: shown.map((bar) => bar.value), marker: { color: style("--series-0") },
      text: shown.map((bar) => `${number(bar.value)} %`), textposition: "outside", cliponaxis: false, hoverinfo: "none",
      error_x: shown.some((bar) => bar.low !== null) ? { type: "data", symmetric: false, array: shown.map((bar) => (bar.high ?? bar.value) - bar.value), arrayminus: shown.map((bar) => bar.value - (bar.low ?? bar.value)), color: style("--ink") } : undefined,
    }], {
      height: 110 + 30 * shown.length, xaxis: axis("improvement of tokens/s in %", { zeroline: true }), yaxis: rowAxis(shown.map((bar) => bar.label)), margin: { l: 12, r: 60, t: 12, b: 12 },
    }, `Bars of the improvement by tuning again, one for each model: ${group.title}.`);
    its.say(group.sentence);
    its.tell(["model", "improvement in %", "interval from", "interval to"], group.bars.map((bar) => [bar.label, bar.value, bar.low ?? "", bar.high ?? ""]));
  }
}

// Labels beside points at the same place go to different sides.
const SIDES = ["top center", "bottom center", "middle right", "middle left"];
function relations(points) {
  const kinds = [["parameters", "parameters"], ["score", "score"]].filter(([key]) => points.some((point) => point[key] != null));
  if (!kinds.length) return;
  let kind = kinds[0][0], chosen = () => null;
  const groupOf = (point) => JSON.stringify([point.engine, point.gpu, point.conditions]);
  const groups = unique(points.map(groupOf)).map((key) => ({ points: points.filter((point) => groupOf(point) === key) }));
  const picture = new Picture("relations", draw);
  chosen = chooser("relations-choice", groups, [["Engine", (each) => each.points[0].engine], ["GPU model", (each) => each.points[0].gpu], ["Workload", (each) => each.points[0].conditions]], () => picture.update());
  if (kinds.length > 1) buttons("relations-metric", "Number on the horizontal axis", kinds, (value) => { kind = value; picture.update(); });
  function draw(its) {
    const shown = chosen().points.filter((point) => point[kind] != null).sort((first, second) => first[kind] - second[kind] || second.best - first.best);
    const isCount = kind === "parameters";
    plot(its.target, [{
      type: "scatter", mode: shown.length <= 25 ? "markers+text" : "markers", x: shown.map((point) => point[kind]), y: shown.map((point) => point.best), text: shown.map((point) => plain(shortName(point.model, 18))),
      textposition: shown.map((_, place) => SIDES[place % SIDES.length]), textfont: { size: 11 }, hovertext: shown.map((point) => plain(`${point.model}: ${number(point.best)} tokens/s, ${isCount ? compact(point[kind]) + " parameters" : "score " + number(point[kind])}`)), hoverinfo: "text",
      marker: { size: 11, color: style("--series-0"), symbol: "diamond", line: { width: 1, color: style("--card") } }, cliponaxis: false,
    }], {
      height: 430, margin: { l: 12, r: 40, t: 24, b: 12 }, xaxis: isCount ? logAxis("parameters", shown.map((point) => point.parameters)) : axis("score"), yaxis: logAxis("best tokens/s", shown.map((point) => point.best)),
    }, `Points of models: best throughput over ${isCount ? "the number of parameters" : "the score"}.`);
    const ordered = [...shown].sort((first, second) => second.best - first.best);
    its.say(ordered.length < 2 ? "One model alone shows no relation." : `Of ${ordered.length} models, ${ordered[0].model} is fastest at its best configuration (${number(ordered[0].best)} tokens/s) and ${ordered.at(-1).model} slowest (${number(ordered.at(-1).best)} tokens/s).`);
    its.tell(["model", isCount ? "parameters" : "score", "best tokens/s"], ordered.map((point) => [point.model, point[kind], point.best]));
  }
}

// One study: what each trial found, in the order of trials, and what it took.
function course(studies) {
  if (!studies.length) return;
  let chosen = () => studies[0];
  const found = new Picture("course", drawFound);
  const time = new Picture("time", drawTime);
  chosen = chooser("course-choice", studies, [["Study", (each) => each.name], ["Pool", (each) => each.pool], ["Round", (each) => String(each.round)]], () => { found.update(); time.update(); });
  const label = (study, place) => `trial ${study.trials[place]}: ${count(study.gpus[place], study.device)}, batch size ${whole(study.batches[place])}`;
  function drawFound(its) {
    const study = chosen();
    let best = null;
    const steps = study.values.map((value) => (best = value !== null && (best === null || value > best) ? value : best));
    const places = study.values.map((_, place) => place);
    const of = (wanted) => places.filter(wanted);
    const measured = of((place) => study.values[place] !== null), bounds = of((place) => study.bounds[place] !== null), failed = of((place) => study.values[place] === null && study.bounds[place] === null);
    const markers = (name, which, y, symbol, colour) => ({
      type: "scatter", mode: "markers", name, x: which.map((place) => place + 1), y: which.map(y), hoverinfo: "text", cliponaxis: false, marker: { symbol, size: 10, color: style(colour), line: { width: 2, color: style(colour) } },
      hovertext: which.map((place) => plain(`${label(study, place)}: ${study.values[place] !== null ? number(study.values[place]) + " tokens/s" : shorten(study.why[place] || "no number", 120)}`)),
    });
    plot(its.target, [
      { type: "scatter", mode: "lines", name: "best so far", x: places.map((place) => place + 1), y: steps, line: { shape: "hv", width: 3, color: style("--series-1") }, hoverinfo: "skip" },
      markers("measured", measured, (place) => study.values[place], "circle", "--series-0"),
      markers("slower than the best: at most", bounds, (place) => study.bounds[place], "triangle-down-open", "--series-2"),
      markers("no number", failed, () => 0, "x-thin-open", "--ink"),
    ].filter((trace) => trace.x.length), {
      height: 400, showlegend: true, xaxis: axis("trial, in the order in which they ran"), yaxis: axis("tokens/s", { rangemode: "tozero" }),
    }, `Throughput of the trials of ${study.name} in their order, with the best so far.`);
    its.say(study.sentence);
    its.tell(["trial", `${study.device}s`, "batch size", "tokens/s", "spread of the repeats in %", "outcome"], places.map((place) => [String(study.trials[place]), study.gpus[place], study.batches[place], study.values[place] ?? "", study.spread[place] === null ? "" : 100 * study.spread[place], study.why[place] || "measured"]));
  }
  function drawTime(its) {
    const study = chosen();
    const x = study.trials.map((_, place) => place + 1);
    if (![...study.load, ...study.measured].some((value) => value !== null)) {
      its.target.replaceChildren();
      its.say("How long loads and measurements took is not recorded here.");
      return;
    }
    const bar = (name, values, colour, shape) => ({ type: "bar", name, x, y: values, marker: { color: style(colour), pattern: { shape, fillmode: "overlay", fgcolor: style("--card"), size: 7 } }, hovertext: values.map((value, place) => plain(`${label(study, place)}: ${name} ${number(value ?? 0)} s`)), hoverinfo: "text" });
    plot(its.target, [bar("loading the engine", study.load, "--series-1", "/"), bar("measuring", study.measured, "--series-0", "")], {
      height: 320, barmode: "stack", showlegend: true, xaxis: axis("trial, in the order in which they ran"), yaxis: axis("seconds", { rangemode: "tozero" }),
    }, `Seconds of loading and measuring of the trials of ${study.name}.`);
    const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
    const load = sum(study.load), measuring = sum(study.measured);
    its.say(`Loading engines took ${number(load)} s and measuring ${number(measuring)} s: ${Math.round(100 * measuring / (load + measuring))} % of that time was measuring. Trials that share an engine load have its time at the first of them.`);
    its.tell(["trial", "seconds of loading", "seconds of measuring"], study.trials.map((trial, place) => [String(trial), study.load[place] ?? "", study.measured[place] ?? ""]));
  }
}

if (LANDSCAPES.length) {
  landscapes();
  if (document.getElementById("scaling")) scaling();
  if (document.getElementById("batch-curves")) batchCurves();
  if (document.getElementById("tradeoff")) tradeoff();
  boxes("hardware", DATA.hardware, "Engine");
  boxes("engines", DATA.engines, "GPU model");
  bars("retune", DATA.retune);
  if (document.getElementById("relations")) relations(DATA.relations);
  course(DATA.studies);
}
