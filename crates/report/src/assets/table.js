/** Heads of tables become buttons that sort; rows without a number stay at the end. */
function sortable(table) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  const body = table.tBodies[0], first = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column], text = (cell.firstChild?.nodeType === Node.TEXT_NODE
      ? cell.firstChild.textContent : cell.textContent).trim();
    if (column === 0) return Number.isNaN(Number(text)) ? text : Number(text);
    if (text === "underflow") return 0;
    const pattern = /^(?:below |> ?|about )?([-−]?[\d.]+(e[-+]?\d+)?)(?:\/(\d+))?/;
    const [, upper, , lower] = pattern.exec(text) ?? [];
    if (upper === undefined) return null;
    return Number(upper.replace("−", "-")) / (lower ? Number(lower) : 1);
  };
  const compare = (sign) => ([a], [b]) => a === null || b === null ? (a === null) - (b === null)
    : sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  heads.forEach((head, column) => {
    const sort = () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }
        [head.ariaSort ?? "none"];
      heads.forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = next;
      const keyed = first.map((row) => [key(row, column), row]);
      const sorted = keyed.sort(compare(next === "descending" ? -1 : 1)).map(([, row]) => row);
      body.append(...(next === "none" ? first : sorted));
      announce(next === "none" ? "order of the comparison"
        : `sorted by ${head.textContent}, ${next}`);
    };
    const attributes = { type: "button", class: "sort", onclick: sort };
    const button = el("button", attributes, ...head.childNodes);
    head.replaceChildren(button);
    head.ariaSort = "none";
  });
}
