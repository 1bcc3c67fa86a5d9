'use strict';

const $ = (id) => document.getElementById(id);
const form = $('vote');
let pair = null;
let maxFaults = 3;
const skipped = [];

const say = (text) => { $('notice').textContent = text; $('notice').hidden = !text; };

const element = (name, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
};

const choice = (type, name, value, text) =>
  element('label', {className: 'choice'}, element('input', {type, name, value}), element('span', {textContent: text}));

const build = (questions, faults) => {
  for (const [name, text] of Object.entries(questions)) {
    const legend = element('legend', {}, element('span', {textContent: text}));
    $('questions').append(element('fieldset', {}, legend, choice('radio', name, 'L', 'A'), choice('radio', name, 'R', 'B')));
  }
  for (const [side, title] of [['L', 'A'], ['R', 'B']]) {
    const chips = faults.map((fault) => choice('checkbox', `faults_${side}`, fault, fault.replaceAll('-', ' ')));
    $('faults').append(element('div', {className: 'chips'}, element('b', {textContent: title}), ...chips));
  }
};

const answers = () => {
  const data = new FormData(form);
  const found = {number: pair.number, faults_L: data.getAll('faults_L'), faults_R: data.getAll('faults_R')};
  for (const fieldset of $('questions').children) {
    const {name} = fieldset.querySelector('input');
    found[name] = data.get(name);
  }
  return found;
};

const check = () => {
  const open = [...$('questions').children].filter((one) => !one.querySelector(':checked')).length;
  $('send').disabled = open > 0;
  $('hint').textContent = open > 0 ? (open === 1 ? 'One question is open.' : `${open} questions are open.`) : '';
  for (const side of ['L', 'R']) {
    const boxes = [...form.querySelectorAll(`[name=faults_${side}]`)];
    const full = boxes.filter((box) => box.checked).length >= maxFaults;
    for (const box of boxes) box.disabled = full && !box.checked;
  }
};

const show = (state) => {
  if (!$('questions').children.length) build(state.questions, state.faults);
  maxFaults = state.max_faults;
  $('bar').max = state.of;
  $('bar').value = state.done;
  $('count').textContent = `${state.done} of ${state.of}`;
  pair = state.pair ?? null;
  form.hidden = !pair;
  $('end').hidden = Boolean(pair);
  if (!pair) return;
  form.reset();
  for (const where of ['photo', 'left', 'right']) $(where).src = pair[where];
  check();
  window.scrollTo(0, 0);
};

const load = async () => {
  const answer = await fetch(`pair?skip=${skipped.join(',')}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  show(await answer.json());
};

const attempt = async (work) => {
  try {
    await work();
    say('');
  } catch (error) {
    say(`Not sent: ${error.message}. Your answers are still here; try again.`);
  }
};

form.addEventListener('change', check);
form.addEventListener('submit', (event) => {
  event.preventDefault();
  $('send').disabled = true;
  attempt(async () => {
    const answer = await fetch('vote', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(answers())});
    if (!answer.ok) throw new Error((await answer.json()).error);
    await load();
  }).then(check);
});
$('skip').addEventListener('click', () => { skipped.push(pair.number); attempt(load); });

$('photo').addEventListener('load', () => form.classList.toggle('tall', $('photo').naturalHeight > $('photo').naturalWidth));

for (const button of document.querySelectorAll('.look')) {
  button.addEventListener('click', () => {
    $('large').querySelector('img').src = button.querySelector('img').src;
    $('large').showModal();
  });
}
$('large').addEventListener('click', () => $('large').close());

attempt(load);
