// The attention explorer: choose a run, an image, a layer and a patch; every head shows where it looks from there.
'use strict';

(() => {
  const app = document.getElementById('explorer-app');
  if (!app) return;
  const data = JSON.parse(document.getElementById('explorer-data').textContent);
  const at = (id) => document.getElementById(id);
  const chosen = {run: 0, image: 0, layer: 0, view: 'weights', scale: 'own', patch: 0};
  const unpacked = new Map(); // of runs looked at
  const pictures = data.sets.map((set) => set.images.map(({png}) => Object.assign(new Image(), {src: png})));

  const run = () => data.runs[chosen.run];
  const set = () => data.sets[run().set];
  const parts = () => {
    if (!unpacked.has(chosen.run)) {
      const views = Object.entries(run().views).map(([name, packed]) => [name, maps.unpack(packed)]);
      unpacked.set(chosen.run, {views: Object.fromEntries(views), rollout: maps.unpack(run().rollout)});
    }
    return unpacked.get(chosen.run);
  };
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const tokens = () => [...Array(run().grid[0] * run().grid[1]).keys()];
  const option = (text, value, disabled = false) => Object.assign(element('option', text), {value, disabled});

  // What one head does with the chosen patch: its weights on all patches, and theirs on it.
  const looks = (head) => {
    const view = parts().views[chosen.view];
    const image = view.shape[0] === 1 ? 0 : chosen.image; // by position alone, all images may be alike
    return {
      from: tokens().map((patch) => view.value(image, chosen.layer, head, chosen.patch, patch)),
      to: tokens().map((patch) => view.value(image, chosen.layer, head, patch, chosen.patch)),
    };
  };

  const showHeads = () => {
    const heads = [...Array(run().heads).keys()].map(looks);
    const all = heads.flatMap(({from, to}) => [...from, ...to]);
    const brightest = (weights) => ({own: Math.max(...weights), common: Math.max(...all), whole: 1})[chosen.scale];
    const image = pictures[run().set][chosen.image];
    at('head-maps').replaceChildren(...heads.map(({from, to}, head) => {
      const card = element('div', undefined, 'head');
      const [best, fan] = [maps.strongest(from), maps.strongest(to)];
      const {distance, entropy} = maps.summary(run(), from, chosen.patch);
      const said = `most at ${maps.place(run(), best)} (${maps.percent(from[best])})`;
      const seen = `most by ${maps.place(run(), fan)} (${maps.percent(to[fan])})`;
      const [looking, seeing] = [
        maps.figure(`Head ${head} looks ${said}`, `Looks ${said}`),
        maps.figure(`Head ${head}: the patch is looked at ${seen}`, `Is looked at ${seen}`),
      ];
      maps.draw(looking.canvas, image, run(), from, brightest(from), chosen.patch);
      maps.draw(seeing.canvas, image, run(), to, brightest(to), chosen.patch);
      const both = element('div', undefined, 'maps');
      both.append(looking.frame, seeing.frame);
      card.append(element('h4', `Head ${head}`), both,
        element('p', `Looks ${distance.toFixed(1)} pixels away on average; entropy ${Math.abs(entropy).toFixed(2)} nats.`));
      Object.assign(card.dataset, {head, best, fan, weight: from[best], distance, entropy});
      return card;
    }));
    const [guess, share] = run().guesses[chosen.image];
    at('explorer-status').textContent = `Patch ${maps.place(run(), chosen.patch)}, layer ${chosen.layer}, attention ` +
      `${data.views[chosen.view]}. The image is “${set().images[chosen.image].label}”; the model says “${guess}” (${maps.percent(share)}).`;
  };

  const choosePatch = (patch, focus) => {
    chosen.patch = patch;
    [...at('patches').children].forEach((button, index) => {
      button.setAttribute('aria-pressed', String(index === patch));
      button.tabIndex = index === patch ? 0 : -1;
      if (focus && index === patch) button.focus();
    });
    showHeads();
  };

  const showPatches = () => {
    const [rows, columns] = run().grid;
    const grid = at('patches');
    Object.assign(grid.style, {
      gridTemplateColumns: `repeat(${columns}, 1fr)`,
      gridTemplateRows: `repeat(${rows}, 1fr)`,
      aspectRatio: `${columns} / ${rows}`,
      backgroundImage: `url("${set().images[chosen.image].png}")`,
    });
    if (grid.children.length !== rows * columns) {
      grid.replaceChildren(...tokens().map((patch) => {
        const button = Object.assign(element('button'), {type: 'button', onclick: () => choosePatch(patch, true)});
        button.setAttribute('aria-label', `Patch ${maps.place(run(), patch)}`);
        return button;
      }));
      chosen.patch = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    }
    choosePatch(chosen.patch, false);
  };

  const showRollout = () => {
    const image = pictures[run().set][chosen.image];
    at('rollout-maps').replaceChildren(...[...Array(run().layers).keys()].map((layer) => {
      const weights = tokens().map((patch) => parts().rollout.value(chosen.image, layer, patch));
      const best = maps.strongest(weights);
      const said = `Up to layer ${layer}: most from ${maps.place(run(), best)} (${maps.percent(weights[best])})`;
      const {frame, canvas} = maps.figure(said, said);
      maps.draw(canvas, image, run(), weights, Math.max(...weights), null);
      frame.dataset.best = best;
      return frame;
    }));
    at('rollout-note').textContent = run().between
      ? 'The convolution between the first two blocks also mixes patches, and is not included.' : '';
  };

  const showTables = () => {
    const digits = [0, 0, 1, 2, 1, 2];
    const unit = [1, 1, 1, 1, 100, 100];
    at('head-table').tBodies[0].replaceChildren(...run().table.map((values) => {
      const row = element('tr');
      row.append(...values.map((value, column) => {
        const cell = element('td', value === null ? '-' : (value * unit[column]).toFixed(digits[column]), 'number');
        cell.dataset.value = value === null ? '' : value;
        return cell;
      }));
      return row;
    }));
    const alike = run().likeness[chosen.layer] || [];
    const body = at('likeness').tBodies[0];
    body.replaceChildren(...alike.map((values, head) => {
      const row = element('tr');
      row.append(Object.assign(element('th', `Head ${head}`), {scope: 'row'}), ...values.map((value) => {
        const cell = element('td', (100 * value).toFixed(0));
        cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(45 * value)}%, var(--paper))`;
        return cell;
      }));
      return row;
    }));
    if (alike.length) {
      const row = element('tr');
      row.append(element('td', ''), ...alike.map((_, head) => Object.assign(element('th', `Head ${head}`), {scope: 'col'})));
      body.prepend(row);
    }
  };

  const showImages = () => {
    at('choose-image').replaceChildren(...set().images.map(({png, label}, index) => {
      const [frame, input] = [element('label'), element('input')];
      Object.assign(input, {type: 'radio', name: 'image', value: index, checked: index === chosen.image});
      input.addEventListener('change', () => {
        chosen.image = index;
        showPatches();
        showRollout();
      });
      frame.append(input, Object.assign(element('img'), {src: png, alt: `Image ${index + 1}: `}), element('span', label));
      return frame;
    }));
  };

  const showRun = () => {
    const why = run().why;
    at('explorer-message').hidden = !why;
    at('explorer-message').textContent = why ? `${why}: there is nothing to show.` : '';
    for (const id of ['explorer-maps', 'explorer-more']) at(id).hidden = Boolean(why);
    app.querySelector('.images').hidden = Boolean(why);
    for (const id of ['choose-layer', 'choose-view', 'choose-scale']) at(id).disabled = Boolean(why);
    if (why) return;
    chosen.layer = Math.min(chosen.layer, run().layers - 1);
    chosen.image = Math.min(chosen.image, set().images.length - 1);
    if (!(chosen.view in run().views)) chosen.view = 'weights';
    at('choose-layer').replaceChildren(...[...Array(run().layers).keys()].map((layer) => option(`${layer}`, layer)));
    at('choose-layer').value = chosen.layer;
    at('choose-view').replaceChildren(...Object.entries(data.views).map(
      ([name, text]) => option(text, name, !(name in run().views))));
    at('choose-view').value = chosen.view;
    at('view-note').textContent = run().lack;
    showImages();
    showPatches();
    showRollout();
    showTables();
  };

  const start = () => {
    at('choose-run').append(...data.runs.map(({arm, seed, name, why}, index) =>
      option(`${arm}${seed === null ? '' : `, seed ${seed}`} (${why ? 'no map' : name})`, index)));
    chosen.run = Math.max(0, data.runs.findIndex(({why, heads}) => !why && heads > 1));
    at('choose-run').value = chosen.run;
    const changed = (id, name, update, read = Number) => at(id).addEventListener('change', (event) => {
      chosen[name] = read(event.target.value);
      update();
    });
    changed('choose-run', 'run', showRun);
    changed('choose-layer', 'layer', () => { showHeads(); showTables(); });
    changed('choose-view', 'view', showHeads, String);
    changed('choose-scale', 'scale', showHeads, String);
    at('patches').addEventListener('keydown', (event) => {
      const columns = run().grid[1];
      const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
      const target = chosen.patch + step;
      const wraps = Math.abs(step) === 1 && Math.floor(target / columns) !== Math.floor(chosen.patch / columns);
      if (step === undefined) return;
      event.preventDefault();
      if (target >= 0 && target < tokens().length && (columns === 1 || !wraps)) choosePatch(target, true);
    });
    app.hidden = false;
    showRun();
  };

  Promise.all(pictures.flat().map((image) => image.decode())).then(start);
})();
