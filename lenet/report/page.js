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
// A field above each long table: the rows that have every word typed stay.
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8) continue;
  const field = document.createElement("input");
  const kept = document.createElement("output");
  const label = document.createElement("label");
  field.type = "search";
  label.className = "filter";
  label.append("rows with ", field, " ", kept);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => cells.includes(word));
    }
    const count = rows.filter((row) => !row.hidden).length;
    kept.textContent = field.value ? `${count} of ${rows.length}` : "";
  });
  table.before(label);
}
// A click on a command copies it.
for (const head of document.querySelectorAll("thead th")) {
  if (head.textContent !== "command") continue;
  for (const row of head.closest("table").tBodies[0].rows) {
    const cell = row.cells[head.cellIndex];
    const command = cell.textContent;
    const button = document.createElement("button");
    button.className = "copy";
    button.title = "copy this command";
    button.append(...cell.childNodes);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command);
        button.dataset.copied = "copied";
      } catch {
        getSelection().selectAllChildren(button); // the reader copies it by hand
      }
    });
    cell.append(button);
  }
}
