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
// Above each long table a field, the rows that have every word typed stay, and a choice
// for each column of few names.
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8) continue;
  const field = document.createElement("input");
  const kept = document.createElement("output");
  const label = document.createElement("label");
  const bar = document.createElement("div");
  field.type = "search";
  bar.className = "filter";
  label.append("rows with ", field);
  const choices = [...table.querySelectorAll("th[data-choose]")].flatMap((head) => {
    const at = head.cellIndex;
    const names = new Set(rows.map((row) => row.cells[at].textContent));
    if (names.size < 2 || names.size > 40) return [];
    const choice = document.createElement("select");
    const named = document.createElement("label");
    choice.append(new Option("all", ""), ...[...names].map((name) => new Option(name, name)));
    named.append(`${head.textContent} `, choice);
    bar.append(named);
    return [[at, choice]];
  });
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent);
      const all = cells.join(" ").toLowerCase();
      const fits = choices.every(([at, choice]) => !choice.value || cells[at] === choice.value);
      row.hidden = !fits || !words.every((word) => all.includes(word));
    }
    const count = rows.filter((row) => !row.hidden).length;
    const asked = field.value || choices.some(([, choice]) => choice.value);
    kept.textContent = asked ? `${count} of ${rows.length}` : "";
  };
  for (const one of [field, ...choices.map(([, choice]) => choice)]) {
    one.addEventListener("input", show);
  }
  bar.prepend(label);
  bar.append(kept);
  table.closest(".wide").before(bar);
}
// A dot says at once which seed and runs it is; a click copies the command of its run.
const tip = document.createElement("output");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const dot of document.querySelectorAll(".dots use")) {
  const title = dot.querySelector("title");
  const said = title.textContent;
  const command = dot.dataset.command;
  const show = (text) => {
    const place = dot.getBoundingClientRect();
    tip.textContent = text;
    tip.hidden = false;
    const left = Math.min(place.left, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${scrollX + Math.max(8, left)}px`;
    tip.style.top = `${scrollY + place.bottom + 6}px`;
  };
  title.remove(); // or the browser would show it too, a second later
  dot.setAttribute("aria-label", said);
  dot.addEventListener("pointerenter", () =>
    show(command ? `${said}; click: copy its command` : said),
  );
  dot.addEventListener("pointerleave", () => (tip.hidden = true));
  if (!command) continue;
  dot.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      show(`copied: ${command}`);
    } catch {
      show(command);
      getSelection().selectAllChildren(tip); // the reader copies it by hand
    }
  });
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
