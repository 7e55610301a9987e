// What all pictures of the report share: the data, texts that are never markup, colours, controls and tables.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const LANDSCAPES = DATA.landscapes;
LANDSCAPES.forEach((land) => { if (land.reused) land.reused = new Set(land.reused); });
const MOST_TABLE_ROWS = 1000;

// Plotly reads <b>, <a href=...> and entities in titles, labels and hover texts; names in studies are text.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shorten = (text, most = 42) => {
  const characters = Array.from(String(text));
  return characters.length <= most ? String(text) : characters.slice(0, most - 1).join("") + "…";
};
// The end of a long path tells models apart, its beginning does not.
const shortName = (text, most) => {
  const end = String(text).slice(String(text).lastIndexOf("/") + 1);
  return Array.from(String(text)).length <= most || end === "" ? shorten(text, most) : shorten(end, most);
};

// Three to five significant digits with thousands separated, as in the terminal.
function number(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return String(Number(value.toPrecision(3)));
}
function compact(value) {
  if (value >= 1e9) return Number((value / 1e9).toPrecision(3)) + "B";
  if (value >= 1e6) return Number((value / 1e6).toPrecision(3)) + "M";
  return value >= 10000 ? Number((value / 1000).toPrecision(3)) + "k" : number(value);
}
const brief = (value) => (value >= 10000 ? compact(value) : String(value));
const whole = (value) => value.toLocaleString("en-US");
const times = (value) => `${Number(value.toPrecision(value >= 100 ? 3 : 2))} times`;
const count = (amount, word) => `${whole(amount)} ${word}${amount === 1 ? "" : "s"}`;
const unique = (values) => [...new Set(values)];
const ascending = (first, second) => first - second;
function median(values) {
  const sorted = [...values].sort(ascending);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// The only way in which this script makes elements: texts become text nodes.
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SERIES = 8;
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star"];
// Colour, symbol and dash change together, so that lines can be told apart without colour.
function seriesStyle(place) {
  const colour = style(`--series-${place % SERIES}`);
  return {
    line: { color: colour, width: 2, dash: DASHES[Math.floor(place / SERIES) % DASHES.length] },
    marker: { color: colour, size: 8, symbol: SYMBOLS[place % SYMBOLS.length] },
  };
}

function axis(title, more = {}) {
  return {
    title: { text: plain(title), standoff: 8 },
    gridcolor: style("--grid"), linecolor: style("--line"), zerolinecolor: style("--line"),
    automargin: true, separatethousands: true, exponentformat: "none", ...more,
  };
}
// A logarithmic axis with ticks at 1, 2 and 5 of each decade, at more digits of a short axis, written out.
const LONG_AXIS = 8; // the largest value / the smallest
function logAxis(title, values, more = {}) {
  const [least, most] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, 0]);
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most) && values.length; power++) {
    for (const digit of most / least > LONG_AXIS ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8]) ticks.push(digit * 10 ** power);
  }
  const tickvals = ticks.map((tick) => Number(tick.toPrecision(2)));
  const range = values.length ? [Math.log10(least / 1.2), Math.log10(most * 1.2)] : undefined;
  return axis(title, { type: "log", tickmode: "array", tickvals, ticktext: tickvals.map(brief), range, ...more });
}
function layout(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: style("--ink") },
    margin: { l: 12, r: 12, t: 12, b: 12, pad: 2 },
    hoverlabel: { bgcolor: style("--card"), bordercolor: style("--line"), font: { color: style("--ink") }, align: "left" },
    legend: { orientation: "h", yanchor: "top", y: -0.18, x: 0, itemwidth: 30, font: { size: 12 } },
    autosize: true, ...more,
  };
}
const CONFIG = {
  responsive: true, displaylogo: false, showTips: false, scrollZoom: false,
  plotlyServerURL: "",  // results leave the page only if their owner copies them: no upload to a service
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "zoom2d"],
};
function plot(target, traces, its_layout, description) {
  target.setAttribute("role", "img");
  target.setAttribute("aria-label", description);
  return Plotly.react(target, traces, layout(its_layout), CONFIG);
}

function table(columns, rows, note) {
  const shown = rows.slice(0, MOST_TABLE_ROWS);
  const body = element("tbody", {}, ...shown.map((row) => element("tr", {}, ...row.map((value, place) => {
    const text = Number.isInteger(value) ? whole(value) : typeof value === "number" ? number(value) : value ?? "";
    if (place === 0) return element("th", { scope: "row" }, String(text));
    return element("td", { className: typeof value === "number" ? "number" : "" }, String(text));
  }))));
  const head = element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name))));
  const scrolled = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": note }, element("table", {}, head, body));
  if (rows.length <= shown.length) return [scrolled];
  const rest = `The first ${whole(shown.length)} of ${whole(rows.length)} rows; all are in tables/trials.csv.`;
  return [scrolled, element("p", { className: "note" }, rest)];
}

// A picture: drawn when it comes into view, and again when a control or the theme changes.
class Picture {
  constructor(name, draw) {
    this.place = document.getElementById(name);
    this.target = this.place.querySelector(".chart");
    this.sentence = this.place.querySelector(".sentence");
    this.details = this.place.querySelector("details.data");
    this.draw = draw;
    this.isDrawn = false;
    this.rows = null;
    this.details?.addEventListener("toggle", () => this.fillTable());
    PICTURES.push(this);
    WATCH.observe(this.target);
  }
  show() {
    this.isDrawn = true;
    try {
      this.draw(this);
    } catch (error) {
      this.target.replaceChildren(element("p", { className: "note" }, `This picture cannot be drawn here (${error.message}). Its numbers are below.`));
      console.error(error);
    }
    this.fillTable();
  }
  update() { if (this.isDrawn) this.show(); }
  say(text) { this.sentence.textContent = text; }
  tell(columns, rows) { this.rows = [columns, rows]; }
  fillTable() {
    if (!this.details?.open || this.rows === null) return;
    this.details.querySelector(".table").replaceChildren(...table(...this.rows, "The numbers of this picture"));
  }
}
const PICTURES = [];
const WATCH = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const picture = PICTURES.find((each) => each.target === entry.target);
    if (entry.isIntersecting && !picture.isDrawn) picture.show();
  }
}, { rootMargin: "400px" });

// Buttons of which one is pressed.
function buttons(name, label, options, change) {
  const group = element("div", { className: "buttons", role: "group", "aria-label": label });
  const made = options.map(([value, text]) => element("button", {
    type: "button", textContent: text, value, onclick: () => { press(value); change(value); },
  }));
  const press = (value) => made.forEach((button) => button.setAttribute("aria-pressed", String(button.value === value)));
  group.append(...made);
  press(options[0][0]);
  document.getElementById(name).append(group);
  return group;
}
function select(place, label, change) {
  const made = element("select", { onchange: () => change(made.value) });
  const brief = (value) => (value >= 10000 ? compact(value) : String(value));
const whole = element("label", {}, element("span", {}, label), made);
  place.append(whole);
  return {
    get value() { return made.value; },
    fill(options, value) {
      made.replaceChildren(...options.map(([key, text]) => element("option", { value: key, textContent: shorten(text, 60), title: text })));
      if (options.some(([key]) => key === value)) made.value = value;
      whole.hidden = options.length < 2;
    },
  };
}

// Selects that narrow a list of things down to one of them, a field after the other.
function chooser(name, things, fields, change) {
  const place = document.getElementById(name);
  const selects = fields.map(([label]) => select(place, label, () => narrow()));
  let chosen = things[0];
  function narrow() {
    let left = things;
    fields.forEach(([, of], position) => {
      const options = unique(left.map(of)).map((value) => [value, value]);
      selects[position].fill(options, selects[position].value);
      left = left.filter((thing) => of(thing) === selects[position].value);
    });
    chosen = left[0];
    change(chosen);
  }
  selects.forEach((each) => each.fill([], ""));
  narrow();
  return () => chosen;
}

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
  PICTURES.forEach((picture) => picture.update());
}
buttons("theme", "Colours of the page", [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]], setTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => PICTURES.forEach((picture) => picture.update()));

// Paper is white and narrow: everything is drawn for it, and drawn back afterwards.
const PAPER_WIDTH = 680;
addEventListener("beforeprint", () => {
  document.documentElement.dataset.paper = "";
  PICTURES.forEach((picture) => {
    picture.show();
    if (picture.target.data) Plotly.relayout(picture.target, { autosize: false, width: Math.min(PAPER_WIDTH, picture.target.clientWidth) });
  });
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.paper;
  PICTURES.forEach((picture) => picture.update());
});
