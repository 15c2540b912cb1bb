// Sorts a table by the column whose heading is pressed; pressed again, the other way round.
'use strict';

(() => {
  const compare = (one, other) => {
    if (one === '' || other === '') return (one === '') - (other === ''); // what is not known comes last, both ways
    const [first, second] = [Number(one), Number(other)];
    return Number.isNaN(first) || Number.isNaN(second) ? one.localeCompare(other, undefined, {numeric: true}) : first - second;
  };

  const sort = (table, heading) => {
    const headings = [...heading.parentElement.children];
    const column = headings.indexOf(heading);
    const ascending = heading.getAttribute('aria-sort') !== 'ascending';
    headings.forEach((other) => other.removeAttribute('aria-sort'));
    heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    const body = table.tBodies[0];
    const value = (row) => row.children[column].dataset.value;
    const rows = [...body.rows].sort((one, other) => {
      const order = compare(value(one), value(other));
      return ascending || value(one) === '' || value(other) === '' ? order : -order;
    });
    body.append(...rows);
    const status = document.getElementById('table-status');
    status.textContent = `Sorted by ${heading.textContent.trim()}, ${ascending ? 'ascending' : 'descending'}.`;
  };

  for (const table of document.querySelectorAll('table[data-sortable]')) {
    table.tHead.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button) sort(table, button.closest('th'));
    });
  }
})();
