/** Values under the cursor of the heat maps, by pointer or arrow keys. */
function heat({ data, wanted, group }) {
  for (const figure of group.querySelectorAll("figure[data-heat]")) {
    const map = figure.querySelector(":scope > svg"), words = el("span", { class: "value" });
    const at = { column: 0, lag: -1 }, { of, part } = figure.dataset, { lags } = data;
    const frame = map.querySelector(".frame");
    const [left, top, wide, high] = ["x", "y", "width", "height"]
      .map((key) => Number(frame.getAttribute(key)));
    const variant = data.variants[of], columns = columnsOf(variant, part);
    const within = (value, most) => Math.max(0, Math.min(value, most - 1));
    const tell = (aloud) => {
      const moment = columns[at.column];
      const values = spread(variant.runs.filter(wanted).map(({ profiles }) => {
        const profile = profiles[part];
        const norm = profile?.norms[until(profile.steps, moment)]?.[at.lag];
        return norm === null || norm === undefined ? null : Math.log10(norm);
      }));
      const value = !values ? "not measured"
        : values.mid === -Infinity ? "underflow" : digits(10 ** values.mid);
      words.textContent =
        `lag ${lags[at.lag]}, ${moment === Infinity ? "end" : `step ${moment}`}: ${value}`;
      if (aloud) announce(words.textContent);
    };
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale - left;
      const y = (event.clientY - box.top) * scale - top;
      at.column = within(Math.floor(x / wide * columns.length), columns.length);
      at.lag = within(Math.floor((1 - y / high) * lags.length), lags.length);
      tell(false);
    });
    map.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }
        [event.key];
      if (!move) return;
      event.preventDefault();
      at.column = within(at.column + (at.lag < 0 ? 0 : move[0]), columns.length);
      at.lag = within(at.lag + move[1], lags.length);
      tell(true);
    });
    map.setAttribute("tabindex", 0);
    map.after(words);
  }
}
