// Lines over GPU counts and batch sizes, and the trade-off between throughput and the speed of one sequence.
const MOST_LINES = 12;
const KNEE_SHARE = 0.9; // of the highest throughput of a line: reasoned, not measured
const newestRounds = () => LANDSCAPES.filter((land) => !LANDSCAPES.some((other) => other.source === land.source && other.study === land.study
  && other.pool === land.pool && other.model === land.model && other.engine === land.engine && other.gpu === land.gpu && other.round > land.round));
const throughputAt = (land, gpus, batch) => {
  const column = land.counts.indexOf(gpus), row = land.batches.indexOf(batch);
  return column < 0 || row < 0 ? null : metricAt(METRICS[0], land, row * land.counts.length + column);
};
// The batch sizes at which at least two GPU counts have a number.
const scaledBatches = (land) => land.batches.filter((batch) => land.counts.filter((gpus) => throughputAt(land, gpus, batch) !== null).length > 1);
const highest = (land) => bestCell(METRICS[0], land)?.value ?? 0;

function scaling() {
  const groups = [];
  for (const land of newestRounds()) {
    if (!scaledBatches(land).length) continue;
    const key = JSON.stringify([land.engine, land.gpu, land.workload]);
    const group = groups.find((each) => each.key === key);
    if (group) group.lands.push(land); else groups.push({ key, engine: land.engine, gpu: land.gpu, lands: [land] });
  }
  let batch = DATA.batchSize, isRelative = false, chosen = () => groups[0];
  const picture = new Picture("scaling", draw);
  const batchSelect = select(document.getElementById("scaling-choice"), "Batch size", (value) => { batch = Number(value); picture.update(); });
  function offerBatches(group) {
    const batches = unique(group.lands.flatMap(scaledBatches)).sort(ascending);
    if (!batches.includes(batch)) batch = batches[0];
    batchSelect.fill(batches.map((each) => [String(each), String(each)]), String(batch));
    picture.update();
  }
  chosen = chooser("scaling-choice", groups, [["Engine", (each) => each.engine], ["GPU model", (each) => each.gpu], ["Workload", (each) => each.lands[0].workload ?? "not recorded"]], offerBatches);
  buttons("scaling-metric", "Number on the vertical axis", [["absolute", "tokens/s"], ["relative", "relative to the fewest"]], (value) => {
    isRelative = value === "relative";
    picture.update();
  });
  function draw(its) {
    const group = chosen();
    const counts = unique(group.lands.flatMap((land) => land.counts)).sort(ascending);
    const lines = group.lands.map((land) => {
      const points = counts.map((gpus) => [gpus, throughputAt(land, gpus, batch)]).filter(([, value]) => value !== null);
      return { land, points, growth: points.length > 1 ? points.at(-1)[1] / points[0][1] : null };
    }).filter((line) => line.points.length > 0).sort((first, second) => second.points.at(-1)[1] - first.points.at(-1)[1]);
    const drawn = lines.slice(0, MOST_LINES);
    const traces = drawn.map((line, place) => ({
      type: "scatter", mode: "lines+markers", name: plain(shortName(line.land.model, 26)), ...seriesStyle(place),
      x: line.points.map(([gpus]) => String(gpus)), y: line.points.map(([, value]) => (isRelative ? value / line.points[0][1] : value)),
      hovertext: line.points.map(([gpus, value]) => plain(`${line.land.model}: ${count(gpus, line.land.device)}, ${number(value)} tokens/s`)), hoverinfo: "text",
    }));
    const device = group.lands[0].device;
    plot(its.target, traces, {
      height: 430 + 10 * Math.ceil(drawn.length / 3), showlegend: true,
      xaxis: axis(`${device}s`, { type: "category", categoryorder: "array", categoryarray: counts.map(String) }),
      yaxis: axis(isRelative ? `tokens/s relative to the fewest ${device}s` : "tokens/s", { rangemode: "tozero" }),
    }, `Lines of throughput over the number of ${device}s, one for each model, at batch size ${batch}.`);
    const grown = lines.filter((line) => line.growth !== null);
    const faster = grown.filter((line) => line.growth > 1);
    const extreme = grown.length ? ` The median model has ${number(median(grown.map((line) => line.growth)))} times the throughput.` : "";
    const hidden = lines.length > drawn.length ? ` Drawn are the ${drawn.length} fastest of ${lines.length} models; the table has all.` : "";
    its.say(grown.length === 0 ? `No model has two ${device} counts at batch size ${batch}.`
      : `At batch size ${batch}, ${faster.length} of ${count(grown.length, "model")} ${faster.length === 1 ? "is" : "are"} faster with the most ${device}s than with the fewest.${extreme}${hidden}`);
    its.tell(["model", ...counts.map((gpus) => count(gpus, device))], lines.map((line) => [line.land.model, ...counts.map((gpus) => throughputAt(line.land, gpus, batch) ?? "")]));
  }
}

function batchCurves() {
  const picture = new Picture("batch-curves", draw);
  let isPerGpu = false, chosen = () => LANDSCAPES[0];
  chosen = chooser("batch-choice", LANDSCAPES, CHOICE, () => picture.update());
  buttons("batch-metric", "Number on the vertical axis", [["all", "tokens/s"], ["each", "tokens/s per GPU"]], (value) => { isPerGpu = value === "each"; picture.update(); });
  function draw(its) {
    const land = chosen();
    const step = Math.ceil(land.counts.length / MOST_LINES);
    const lines = land.counts.map((gpus) => {
      const points = land.batches.map((batch, row) => ({ batch, value: throughputAt(land, gpus, batch), cell: row * land.counts.length + land.counts.indexOf(gpus) }));
      const measured = points.filter((point) => point.value !== null);
      const top = measured.reduce((best, point) => (best === null || point.value > best.value ? point : best), null);
      const knee = top && measured.find((point) => point.value >= KNEE_SHARE * top.value);
      const end = points.find((point) => "xn".includes(land.states[point.cell]) && top && point.batch > measured[0].batch);
      return { gpus, measured, top, knee, end };
    }).filter((line) => line.measured.length > 0);
    const drawn = lines.filter((_, place) => place % step === 0);
    const shown = (line, value) => (isPerGpu ? value / line.gpus : value);
    const traces = drawn.map((line, place) => ({
      type: "scatter", mode: "lines+markers", name: count(line.gpus, plain(land.device)), ...seriesStyle(place),
      x: line.measured.map((point) => point.batch), y: line.measured.map((point) => shown(line, point.value)),
      hovertext: line.measured.map((point) => plain(`${count(line.gpus, land.device)}, batch size ${point.batch}: ${number(point.value)} tokens/s`)), hoverinfo: "text",
    }));
    const extras = (name, symbol, size, points) => ({
      type: "scatter", mode: "markers", name, x: points.map(([x]) => x), y: points.map(([, y]) => y), hoverinfo: "name",
      marker: { symbol, size, color: style("--ink"), line: { width: 2, color: style("--ink") } },
    });
    traces.push(extras(`knee: ${KNEE_SHARE * 100} % of the line's best`, "circle-open", 15, drawn.map((line) => [line.knee.batch, shown(line, line.knee.value)])));
    const ends = drawn.filter((line) => line.end);
    if (ends.length) traces.push(extras("cannot work from here on", "x-thin-open", 10, ends.map((line) => [line.end.batch, shown(line, line.measured.at(-1).value)])));
    const ticks = land.batches.filter((_, place) => place % Math.ceil(land.batches.length / 12) === 0);
    plot(its.target, traces, {
      height: 450, showlegend: true,
      xaxis: axis("batch size", { type: "log", tickvals: ticks, ticktext: ticks.map(String) }),
      yaxis: axis(isPerGpu ? `tokens/s per ${land.device}` : "tokens/s", { rangemode: "tozero" }),
    }, `Lines of throughput over batch size for ${nameOf(land)}, one for each number of ${land.device}s.`);
    const top = lines.reduce((best, line) => (best === null || line.top.value > best.top.value ? line : best), null);
    const missing = step > 1 ? ` Drawn are ${drawn.length} of ${lines.length} GPU counts; the table has all.` : "";
    its.say(top === null ? `No configuration of ${nameOf(land)} was measured.`
      : `${nameOf(land)} is fastest at batch size ${whole(top.top.batch)} on ${count(top.gpus, land.device)}; from batch size ${whole(top.knee.batch)} on it has ${KNEE_SHARE * 100} % of that.${missing}`);
    its.tell([`${land.device}s`, "best batch size", "tokens/s", `batch size at the knee`, "cannot work from"],
      lines.map((line) => [line.gpus, line.top.batch, line.top.value, line.knee.batch, line.end ? line.end.batch : ""]));
  }
}

// All measured configurations of a landscape, and those of them that no other one beats beyond the noise.
function choicesOf(land) {
  const measured = [];
  for (let cell = 0; cell < land.states.length; cell++) {
    const value = metricAt(METRICS[0], land, cell);
    if (value !== null) measured.push({ cell, value, speed: 1 / secondsPerToken(land, cell), gpus: gpusOf(land, cell) });
  }
  const onFront = new Set(land.front ?? []);
  const front = measured.filter((each) => onFront.has(each.cell)).sort((first, second) => second.value - first.value);
  return { measured, front, others: measured.filter((each) => !onFront.has(each.cell)) };
}

function tradeoff() {
  const picture = new Picture("tradeoff", draw);
  let chosen = () => LANDSCAPES[0];
  chosen = chooser("tradeoff-choice", LANDSCAPES, CHOICE, () => picture.update());
  function draw(its) {
    const land = chosen();
    const { measured, front, others } = choicesOf(land);
    const step = Math.ceil(others.length / MOST_CELLS) || 1;
    const shown = others.filter((_, place) => place % step === 0);
    const text = (each) => plain(`${configuration(land, each.cell)}: ${number(each.value)} tokens/s, ${number(each.speed)} tokens/s per sequence`);
    const counts = unique(front.map((each) => each.gpus)).sort(ascending);
    const traces = [{
      type: "scatter", mode: "markers", name: "beaten by another one", x: shown.map((each) => each.speed), y: shown.map((each) => each.value),
      hovertext: shown.map(text), hoverinfo: "text", marker: { symbol: "circle-open", size: 6, color: style("--soft") },
    }, ...counts.slice(0, MOST_LINES).map((gpus, place) => {
      const those = front.filter((each) => each.gpus === gpus);
      return {
        type: "scatter", mode: "lines+markers", name: count(gpus, plain(land.device)), ...seriesStyle(place),
        x: those.map((each) => each.speed), y: those.map((each) => each.value), hovertext: those.map(text), hoverinfo: "text",
      };
    })];
    plot(its.target, traces, {
      height: 450, showlegend: true,
      xaxis: logAxis("tokens/s per sequence", measured.map((each) => each.speed)),
      yaxis: logAxis("tokens/s", measured.map((each) => each.value)),
    }, `Points of ${nameOf(land)}: throughput over the speed of one sequence; lines join those that no other configuration beats.`);
    const binding = (land.binding ?? []).map((sentence) => ` ${sentence}`).join("");
    const cheapest = land.price ? " The table has the cost per million tokens of each." : "";
    its.say(front.length === 0 ? `No configuration of ${nameOf(land)} was measured.`
      : `${front.length} of ${whole(measured.length)} measured configurations are worth choosing from: no other one has more tokens/s, faster sequences and no more ${land.device}s.${binding}${cheapest}`);
    const top = front[0]?.value;
    const columns = ["rank", `${land.device}s`, "batch size", "tokens/s", "of the fastest", "tokens/s per sequence", "seconds per output token", ...(land.price ? ["cost per million tokens"] : [])];
    its.tell(columns, front.map((each, place) => [String(place + 1), each.gpus, batchOf(land, each.cell), each.value, `${Math.round(100 * each.value / top)} %`, each.speed, 1 / each.speed,
      ...(land.price ? [METRICS[2].of(land, each.cell)] : [])]));
  }
}
