/** The state that the address can keep. */
const parts = [];

/** Keeps what the reader chose in the address. */
function remember() {
  const options = new URLSearchParams();
  parts.forEach(({ kept }) => kept(options));
  const hash = options.size ? `#view:${options}` : "#view:";
  try {
    history.replaceState(null, "", hash);
  } catch {
    location.hash = hash; // where a page may not replace its own address
  }
}

/** Restores what the address keeps. */
function recall() {
  if (!location.hash.startsWith("#view:")) return false;
  const options = new URLSearchParams(location.hash.slice("#view:".length));
  parts.forEach(({ restore }) => restore(options));
  return true;
}

const done = new Set();
document.querySelectorAll("section.explore:not(.compare)").forEach((section) => {
  const explorer = explore(section);
  if (!explorer) return;
  parts.push(explorer);
  const figures = explorer.group.querySelectorAll("figure:has(> .downloads a[data-download])");
  downloads(figures, explorer);
  figures.forEach((figure) => done.add(figure));
  heat(explorer);
  const both = compare(explorer.group.querySelector("section.compare"), explorer);
  if (both) parts.push(both);
});
downloads([...document.querySelectorAll("figure:has(> .downloads a[data-download])")]
  .filter((figure) => !done.has(figure)), null);
document.querySelectorAll("table.summary, table.runs").forEach(sortable);
document.querySelectorAll("li[data-needs]").forEach((item) => {
  item.hidden = document.getElementById(item.dataset.needs)?.hidden ?? true;
});
if (!recall()) parts.forEach(({ restore }) => restore(new URLSearchParams()));
addEventListener("hashchange", recall);
