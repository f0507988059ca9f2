// The script of a report. It draws the page's data, and hides, sorts, compares, reads aloud and
// saves parts of the page. The page is complete without it. It makes no network request.
const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; elements of a drawing by their namespace. */
const make = (space) => (name, attributes = {}, ...children) => {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};
const el = make(null);
const draw = make(SVG);

/** A number to three digits, with an exponent where it is very small or large. */
function digits(value) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)));
  return power < -3 || power > 4 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** Median and range; between two values, their mean. */
function spread(values) {
  const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
  const sorted = values.filter(known).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const half = sorted.length >> 1;
  const mid = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { low: sorted[0], mid, high: sorted[sorted.length - 1] };
}

/** The place of the last entry of a rising list that is not above `bound`, or -1. */
const until = (list, bound) => list.findLastIndex((value) => value <= bound);

/** Round values within bounds, 1, 2 or 5 times a power of ten apart. */
function ticks(low, high, most) {
  const rough = (high - low) / most;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 2, 5, 10].map((times) => times * power);
  const step = steps.find((step) => step >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

/** The line of a variant, beside its name. */
const swatch = (line) => draw("svg",
  { class: "plot swatch", viewBox: "0 0 26 8", "aria-hidden": "true" },
  draw("path", { class: `line ${line}`, d: "M0 4H26" }));

/** Reads a text aloud where a screen reader listens, once it has not changed for a moment. */
const announce = (() => {
  const region = el("p", { class: "sr", role: "status", "aria-live": "polite" });
  document.body.append(region);
  let timer = null;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => { region.textContent = text; }, 300);
  };
})();

/** A moment of training in words. */
const named = (moment) =>
  moment === Infinity ? "the end" : moment === 0 ? "the start" : `step ${moment}`;

/**
 * What can be shown of a comparison: title, axes, and the curve of a variant over the runs that are
 * wanted. Curves are lists of places, each with a median and a range; norms and losses are common
 * logarithms.
 */
function views(data) {
  const norms = data.parts.map((part) => ({
    key: part, title: `Gradient of ${part}`, along: "lag in steps", up: `‖dL/d${part}‖`,
    kind: "norm",
    curve: (variant, wanted, moment) => data.lags.map((lag, at) => {
      const logs = variant.runs.filter(wanted).map((run) => {
        const profile = run.profiles[part];
        const place = profile ? until(profile.steps, moment) : -1;
        const norm = place < 0 ? null : profile.norms[place][at];
        return norm === null || norm === undefined ? null : Math.log10(norm);
      });
      return [lag, spread(logs)];
    }).filter(([, values]) => values),
  }));
  const series = (key, title, kind) => ({
    key, title, kind, along: "training step", up: kind === "share" ? "accuracy" : "loss",
    curve: (variant, wanted) => {
      const runs = variant.runs.filter(wanted).map((run) => run[key]);
      const steps = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
      const log = ({ low, mid, high }) =>
        ({ low: Math.log10(low), mid: Math.log10(mid), high: Math.log10(high) });
      return steps
        .map((step) => [step, spread(runs.map((run) => run.values[until(run.steps, step)]))])
        .filter(([, values]) => values)
        .map(([step, values]) => [step, kind === "share" ? values : log(values)]);
    },
  });
  const all = [...norms, series("held_out", "Held-out loss", "loss"),
    series("training", data.training, "loss"), series("accuracy", "Held-out accuracy", "share")];
  const some = (view) =>
    data.variants.some((variant) => view.curve(variant, () => true, Infinity).length);
  return all.filter(some);
}
