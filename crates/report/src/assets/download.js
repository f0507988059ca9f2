/** A cell of a CSV file. */
const quoted = (text) => /[",\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : text;

/** A table as CSV. */
const csv = (head, rows) =>
  [head, ...rows].map((row) => `${row.map(quoted).join(",")}\n`).join("");

/** A number with six digits that every program can read. */
const plain = (value) => Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "";

/** The numbers of curves, a row for each place. */
function curves(view, lines) {
  const value = (value) => plain(view.kind === "share" ? value : 10 ** value);
  const rows = lines.flatMap(({ name, curve }) => curve.map(([at, { mid, low, high }]) =>
    [name, at, value(mid), value(low), value(high)]));
  return csv(["line", view.kind === "norm" ? "lag" : "step", "median", "low", "high"], rows);
}

/** A drawing as a file of its own, with its title, style and background. */
function picture(svg, title) {
  const copy = svg.cloneNode(true), [, , wide, high] = svg.getAttribute("viewBox").split(" ");
  copy.querySelectorAll(".cursor").forEach((mark) => mark.remove());
  const room = 26;
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("viewBox", `0 ${-room} ${wide} ${Number(high) + room}`);
  copy.setAttribute("width", 2 * wide);
  copy.setAttribute("height", 2 * (Number(high) + room));
  copy.prepend(
    draw("style", {}, document.getElementById("plot-style").textContent),
    draw("rect", { class: "paper", y: -room, width: "100%", height: "100%" }),
    draw("text", { class: "title", x: 10, y: 19 - room }, title));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

/** Saves a text as a file. */
function save(name, type, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  announce(`saved ${name}`);
}

/** The numbers of a still figure, from the page's data; null if they are missing. */
function numbers(figure, data, all) {
  const { csv: kind, part, phase, series, of } = figure.dataset, every = () => true;
  const view = (key) => all.find((view) => view.key === key);
  const at = (phase) => phase === "init" ? 0 : Infinity;
  const lines = (view, moment) => data.variants.map((variant) =>
    ({ name: variant.name, curve: view.curve(variant, every, moment) }));
  if (kind === "profile") return curves(view(part), lines(view(part), at(phase)));
  if (kind === "phases") {
    const variant = data.variants[of];
    return curves(view(part), [["trained", "final"], ["start", "init"]].map(([name, phase]) =>
      ({ name, curve: view(part).curve(variant, every, at(phase)) })));
  }
  if (kind === "series") {
    const key = { "loss-held-out": "held_out", "loss-training": "training" }[series] ?? series;
    return curves(view(key), lines(view(key), Infinity));
  }
  if (kind === "heat") {
    const variant = data.variants[of], moments = columnsOf(variant, part);
    return csv(["step", "lag", "norm"], moments.flatMap((moment) =>
      view(part).curve(variant, every, moment).map(([lag, { mid }]) =>
        [moment === Infinity ? "end" : moment, lag, plain(10 ** mid)])));
  }
  return null;
}

/** The training steps at which a variant has profiles, the end last. */
function columnsOf(variant, part) {
  const own = variant.runs.map((run) => run.profiles[part]).filter((profile) => profile);
  const steps = own.flatMap(({ steps }) =>
    steps.filter((step, at) => step === 0 || at + 1 < steps.length));
  const ends = own.some(({ steps }) => steps.some((step) => step > 0)) ? [Infinity] : [];
  return [...new Set(steps)].sort((a, b) => a - b).concat(ends);
}

/** Links of figures save data from the page, so that they work without other files. */
function downloads(figures, explorer) {
  for (const figure of figures) {
    for (const link of figure.querySelectorAll(":scope > .downloads a")) {
      link.addEventListener("click", (event) => {
        const svg = figure.querySelector(":scope > svg");
        const title = svg.getAttribute("aria-label");
        const text = link.dataset.download === "svg" ? picture(svg, title)
          : explorer && numbers(figure, explorer.data, explorer.all);
        if (!text) return;
        event.preventDefault();
        save(link.download, link.dataset.download === "svg" ? "image/svg+xml" : "text/csv", text);
      });
    }
  }
}

/** Links that save the present view of a chart of the script. */
function saving(name, chart, drawn) {
  const title = () => chart.getAttribute("aria-label").split(".")[0];
  const link = (kind, type, text) => el("button", { type: "button", class: "link",
    "aria-label": `Save this plot as ${kind}`,
    onclick: () => save(`${name()}.${kind.toLowerCase()}`, type, text()) }, kind);
  return el("p", { class: "downloads" },
    link("SVG", "image/svg+xml", () => picture(chart, title())), " ",
    link("CSV", "text/csv", () => curves(drawn.spec().view, drawn.spec().lines)));
}
