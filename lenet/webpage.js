// A click on a column's head sorts its table, by numbers where the cells have them.
for (const head of document.querySelectorAll("thead th")) {
  head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const at = head.cellIndex;
    const compare = (one, other) => {
      const [a, b] = [one.cells[at], other.cells[at]];
      const [x, y] = [a.dataset.key, b.dataset.key].map(Number);
      if (Number.isNaN(x) || Number.isNaN(y)) {
        if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
        const order = a.textContent.localeCompare(b.textContent, "en", { numeric: true });
        return up ? order : -order;
      }
      return up ? x - y : y - x;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
// What is folded is printed too.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
