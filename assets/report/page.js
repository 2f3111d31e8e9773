'use strict';
// Draws what the page's data say. Text from archives becomes text nodes alone, never markup.
{
  const data = JSON.parse(document.getElementById('data').textContent);
  const byId = (id) => document.getElementById(id);

  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // Labels

  let temperature = data.start;
  const shown = [];

  /** Probability at the chosen temperature of ln p at the label's own; see ShownLabel. */
  const at = (log, tau, sums) =>
    log === null ? 0 : Math.exp((log * tau) / data.temperatures[temperature] - sums[temperature]);

  const percent = (share) => `${(100 * share).toFixed(share < 0.01 ? 1 : 0)} %`;

  const placeOf = ({ row, position, epoch, sample, partner, kl }) => {
    const lines = [`${data.row} ${row}, sample ${position}`];
    if (epoch !== row || sample !== position) lines.push(`view of sample ${sample} in epoch ${epoch}`);
    if (partner) {
      const name = partner.name === undefined ? `sample ${partner.sample}` : `${partner.name} (${partner.sample})`;
      lines.push(`${percent(1 - partner.share)} of it: ${name}`);
    }
    if (kl !== undefined) lines.push(`KL ${kl === 0 ? 0 : kl.toExponential(2)} nats`);
    return lines;
  };

  const barOf = (kind) => {
    const bar = element('span', `bar ${kind}`);
    const value = element('span', 'value');
    return { line: element('span', '', bar, value), bar, value };
  };

  const cardOf = (label) => {
    const words = element('div');
    if (label.name !== undefined) words.append(element('div', 'name', label.name));
    for (const line of placeOf(label)) words.append(element('div', 'place', line));
    const head = element('div', 'head');
    if (label.view !== undefined) {
      const image = element('img', label.view.startsWith('data:image/png') ? 'small' : '');
      image.alt = label.name === undefined ? `view of sample ${label.sample}` : label.name;
      image.src = label.view;
      head.append(image);
    }
    head.append(words);
    const list = element('ul');
    const bars = label.classes.map(({ name }) => {
      const title = element('span', 'class', name);
      title.title = name;
      const pair = label.sums.full ? [barOf('full'), barOf('decoded')] : [barOf('decoded')];
      list.append(element('li', '', title, element('span', 'bars', ...pair.map(({ line }) => line))));
      return pair;
    });
    const update = () => {
      const values = label.classes.map(({ full, decoded }) => {
        const own = at(decoded, label.tau, label.sums.decoded);
        return label.sums.full ? [at(full, label.tau, label.sums.full), own] : [own];
      });
      const largest = Math.max(1e-9, ...values.flat());
      for (const [i, pair] of bars.entries()) {
        for (const [j, { bar, value }] of pair.entries()) {
          bar.style.width = `${((70 * values[i][j]) / largest).toFixed(1)}%`;
          value.textContent = (100 * values[i][j]).toFixed(values[i][j] < 0.1 ? 2 : 1);
        }
      }
    };
    update();
    return { card: element('article', 'card', head, list), update };
  };

  const showIn = (id, labels) => {
    const cards = labels.map(cardOf);
    const place = byId(id);
    place.replaceChildren(...cards.map(({ card }) => card));
    const known = shown.findIndex((entry) => entry.id === id);
    if (known >= 0) shown.splice(known, 1);
    shown.push({ id, cards });
  };

  const slider = byId('temperature');
  if (slider) {
    const update = () => {
      temperature = Number(slider.value);
      byId('temperature-value').textContent = String(data.temperatures[temperature]);
      for (const { cards } of shown) for (const card of cards) card.update();
    };
    slider.value = String(temperature);
    slider.addEventListener('input', update);
    showIn('examples', data.examples);
    if (byId('worst')) showIn('worst', data.worst);
    update();
  }

  // Texts

  const tokenText = (id) => data.vocabulary[id] ?? String(id);
  const tokenName = (id) => (data.vocabulary[id] === undefined ? String(id) : `${JSON.stringify(data.vocabulary[id])} (${id})`);

  const textOf = ({ sequence, tokens = [], from, length, first, labels }) => {
    const expected = element('div', 'expected');
    const buttons = [];
    const choose = (i) => {
      for (const [j, button] of buttons.entries()) if (button) button.classList.toggle('chosen', j === i);
      const items = labels[i].map(({ id, p }) => {
        return element('li', '', `${tokenName(id)}: ${(100 * p).toFixed(p < 0.1 ? 2 : 1)} %`);
      });
      const next = tokens[first + i + 1 - from];
      const follows = next === undefined ? '' : `; ${tokenName(next)} follows`;
      expected.replaceChildren(`behind position ${first + i}${follows}`, element('ol', '', ...items));
    };
    const list = tokens.map((id, i) => {
      const label = from + i - first;
      const has = label >= 0 && label < labels.length;
      const made = element(has ? 'button' : 'span', `token${has ? ' labelled' : ''}${label < 0 ? ' prompt' : ''}`, tokenText(id));
      if (!has) return made;
      buttons[label] = made;
      for (const kind of ['mouseenter', 'focus', 'click']) made.addEventListener(kind, () => choose(label));
      return made;
    });
    const before = from > 0 ? ['... '] : [];
    const behind = from + tokens.length < length ? [' ...'] : [];
    const place = element('div', 'place', `text ${sequence}, ${length} tokens, labels from position ${first}`);
    const made = element('article', 'text', place, ...before, ...list, ...behind, ...(labels.length ? [expected] : []));
    if (labels.length) choose(0);
    return made;
  };

  const showTexts = (texts) => byId('texts').replaceChildren(...texts.map(textOf));
  if (byId('texts')) showTexts(data.texts);

  // Browsing a served archive

  const isText = byId('texts') !== null;
  const COUNT = isText ? 6 : 24;
  const form = byId('browse');
  if (form) {
    if (!isText) byId('row-word').textContent = data.row;
    const state = byId('browse-state');
    const { row, start } = form.elements;
    if (row) row.max = String(data.rows - 1);
    start.max = String(data.samples - 1);
    let asked = 0;
    const show = async () => {
      const own = ++asked;
      state.textContent = 'reading ...';
      try {
        const from = `start=${Number(start.value)}&count=${COUNT}`;
        const answer = await fetch(isText ? `texts.json?${from}` : `labels.json?row=${Number(row.value)}&${from}`);
        const found = await answer.json();
        if (own !== asked) return;
        if (!answer.ok) throw new Error(found.error);
        if (isText) showTexts(found.texts);
        else showIn('examples', found.labels);
        state.textContent = '';
      } catch (error) {
        if (own === asked) state.textContent = error.message;
      }
    };
    const move = (by) => {
      const next = Number(start.value) + by;
      start.value = String(Math.min(Math.max(0, next), Math.max(0, data.samples - 1)));
      show();
    };
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      show();
    });
    byId('before').addEventListener('click', () => move(-COUNT));
    byId('after').addEventListener('click', () => move(COUNT));
  }

  // Charts

  const tip = element('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.append(tip);

  const figure = (value) =>
    typeof value === 'number' && !Number.isInteger(value)
      ? Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
      : String(value);

  const showTip = (_, event, __, value) => {
    tip.hidden = value === null || value === undefined || value === '';
    if (tip.hidden) return;
    tip.textContent = Object.entries(value).map(([name, each]) => `${name}: ${each}`).join('\n');
    const { clientX: x, clientY: y } = event;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 8))}px`;
  };

  /** Sums up the labels inside of a rectangle of the chart of all labels. */
  const sumUp = (view, values) => {
    const words = byId('brushed');
    view.addSignalListener('brush', (_, range) => {
      const { confidence, kl } = range ?? {};
      if (!confidence || !kl) {
        words.textContent = '';
        return;
      }
      const within = (value, [a, b]) => value >= Math.min(a, b) && value <= Math.max(a, b);
      const inside = values.filter((each) => within(each.confidence, confidence) && within(each.kl, kl));
      const mean = inside.reduce((sum, each) => sum + each.kl, 0) / inside.length;
      const counts = new Map();
      for (const { name } of inside) counts.set(name, (counts.get(name) ?? 0) + 1);
      const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 5).map(([name, n]) => `${name} (${n})`);
      words.textContent =
        inside.length === 0 ? 'no label inside' : `${inside.length} labels, mean KL ${figure(mean)}; most often ${most.join(', ')}`;
    });
  };

  for (const [id, spec] of Object.entries(data.charts)) {
    const place = byId(`chart-${id}`);
    const view = new vega.View(vega.parse(spec), { container: place, renderer: 'svg', hover: true, tooltip: showTip });
    view.runAsync().then(() => {
      if (id === 'labels') sumUp(view, view.data('source_0'));
    });
    new ResizeObserver(() => dispatchEvent(new Event('resize'))).observe(place);
  }
}
