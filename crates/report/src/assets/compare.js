/** Two variants of a comparison: their plots laid over each other, their rows side by side. */
function compare(section, { data, all, group, prefix }) {
  if (data.variants.length < 2) return null;
  const state = { pair: [0, 1] }, every = () => true;
  const select = (place, label) => {
    const options = data.variants.map(({ name }, index) => el("option", { value: index }, name));
    const choice = el("select", { onchange: (event) => {
      state.pair[place] = Number(event.target.value);
      render();
      remember();
      announce(`comparing ${state.pair.map((index) => data.variants[index].name).join(" with ")}`);
    } }, ...options);
    return [choice, el("label", {}, `${label} `, choice)];
  };
  const [first, firstLabel] = select(0, "Compare"), [second, secondLabel] = select(1, "with");
  const key = el("ul", { class: "key" });
  const plots = all.map((view) => {
    const chart = draw("svg", { class: "plot", role: "img" });
    const figure = el("figure", {}, el("figcaption", {}, view.title), chart);
    return { view, chart, figure };
  });
  const rows = el("div", { class: "scroll", tabindex: 0, role: "region",
    "aria-label": "Table: two variants side by side" });
  section.append(el("div", { class: "controls" }, firstLabel, secondLabel), key,
    el("div", { class: "figures two" }, ...plots.map(({ figure }) => figure)), rows);
  section.hidden = false;
  for (const one of plots) {
    one.drawn = plot(one.chart);
    one.figure.append(saving(() => `${prefix}compare-${one.view.key}`, one.chart, one.drawn));
  }

  /** The lines of a view: the colour is the variant's, a dashed line is the start. */
  function lines(view) {
    return state.pair.flatMap((index, place) => {
      const variant = data.variants[index], fill = `f${place}`;
      const line = (name, dash, moment) =>
        ({ name, line: `c${place} ${dash}`, fill, curve: view.curve(variant, every, moment) });
      return view.kind !== "norm" ? [line(variant.name, "d0", Infinity)]
        : [line(`${variant.name}, start`, "d2", 0),
          line(`${variant.name}, trained`, "d0", Infinity)];
    });
  }

  /** Their cells of the table of results, a row for each of its columns. */
  function table() {
    const results = group.querySelector("table.summary");
    const heads = [...results.tHead.rows].at(-1).cells;
    const own = state.pair.map((index) =>
      results.tBodies[0].querySelector(`tr[data-variant="${index}"]`).cells);
    const copy = (cell) => {
      const made = el("td", { class: cell.className });
      made.append(...[...cell.cloneNode(true).childNodes]);
      return made;
    };
    const body = [...heads].map((head, at) => at === 0 ? null
      : el("tr", {}, el("th", { scope: "row" }, head.textContent),
        ...own.map((cells) => copy(cells[at]))));
    const names = own.map((cells, place) => el("th", { scope: "col" },
      swatch(`c${place} d0`), cells[0].textContent));
    return el("table", { class: "pair" },
      el("caption", { class: "sr" }, "two variants side by side"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, ""), ...names)),
      el("tbody", {}, ...body.filter((row) => row)));
  }

  function render() {
    [first.value, second.value] = state.pair;
    key.replaceChildren(...state.pair.map((index, place) =>
      el("li", {}, swatch(`c${place} d0`), data.variants[index].name)),
    el("li", {}, swatch("c4 d2"), "before training"));
    for (const { view, figure, drawn } of plots) {
      const shown = lines(view);
      figure.hidden = !shown.some(({ curve }) => curve.length);
      const names = state.pair.map((index) => data.variants[index].name).join(" and ");
      drawn.show({ view, lines: shown, logUp: true, logAlong: false,
        baseline: view.kind === "loss" && data.baseline > 0 ? data.baseline : 0,
        label: `${view.title}: ${names}` });
    }
    rows.replaceChildren(table());
  }

  return {
    kept: (options) => state.pair.forEach((index, place) => {
      if (index !== place) options.append(`${prefix}${"ab"[place]}`, data.variants[index].name);
    }),
    restore: (options) => {
      state.pair = [0, 1].map((place) => {
        const name = options.get(`${prefix}${"ab"[place]}`);
        const index = data.variants.findIndex((variant) => variant.name === name);
        return index < 0 ? place : index;
      });
      render();
    },
  };
}
