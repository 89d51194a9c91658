"use strict";
// A heading sorts its table: first ascending, then descending. Buttons work from the keyboard by themselves.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement, row = heading.parentElement, body = row.closest("table").tBodies[0];
    const column = heading.cellIndex, descending = heading.getAttribute("aria-sort") === "ascending";
    const key = (line) => {
      const cell = line.cells[column];
      return column === 0 ? cell.textContent : cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (column === 0) return x.localeCompare(y);
      return Number.isNaN(x) - Number.isNaN(y) || (x - y) * (descending ? -1 : 1);
    };
    const lines = [...body.rows].sort(compare);
    if (column === 0 && descending) lines.reverse();
    body.append(...lines);
    for (const other of row.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  });
}
