// The exact difference between the configs of two arms.
'use strict';

(() => {
  const data = JSON.parse(document.getElementById('compare-data').textContent);
  const chooser = document.getElementById('compare');
  if (!chooser) return;
  const [first, second] = ['compare-first', 'compare-second'].map((id) => document.getElementById(id));
  const table = document.getElementById('differences');

  const show = () => {
    const [one, other] = [Number(first.value), Number(second.value)];
    const rows = Object.entries(data.fields).filter(([, values]) => values[one] !== values[other]);
    table.tBodies[0].replaceChildren(...rows.map(([name, values]) => {
      const row = document.createElement('tr');
      const heading = document.createElement('th');
      heading.scope = 'row';
      heading.textContent = name;
      row.append(heading, ...[values[one], values[other]].map((value) => {
        const cell = document.createElement('td');
        cell.textContent = value === null ? 'unknown' : value;
        return cell;
      }));
      return row;
    }));
    const count = rows.length === 1 ? '1 field differs' : `${rows.length} fields differ`;
    table.caption.textContent = `${count}, not counting the seed; every other field is the same.`;
  };

  for (const select of [first, second]) select.addEventListener('change', show);
  chooser.hidden = false;
  show();
})();
