// Touching the document costs, so what is there is compared first. Texts only ever enter as text.

export const byId = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

/** @param attributes `class`, `href` and the like; `text` is the content */
export function element(tag, { text, ...attributes } = {}, ...children) {
  return fill(document.createElement(tag), text, attributes, children);
}

export function svg(tag, { text, ...attributes } = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), text, attributes, children);
}

function fill(made, text, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** What was last set, by element: asking the document takes longer. */
const texts = new WeakMap();
const attributes = new WeakMap();

export function setText(target, text) {
  if (texts.get(target) === text) return;
  texts.set(target, text);
  target.textContent = text;
}

export function setAttribute(target, name, value) {
  let known = attributes.get(target);
  if (known === undefined) {
    known = new Map();
    attributes.set(target, known);
  }
  if (known.get(name) === value) return;
  known.set(name, value);
  if (value === undefined) target.removeAttribute(name);
  else target.setAttribute(name, value);
}

/**
 * Keeps the children of `parent` those that `items` want, in that order, and moves only what is not at its place.
 * @param known a Map of this list's own: key -> child
 * @param keyOf of an item @param create makes its child @param update sets what may have changed
 */
export function keepChildren(parent, known, items, keyOf, create, update) {
  const wanted = new Set();
  let next = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let child = known.get(key);
    if (child === undefined) {
      child = create(item);
      known.set(key, child);
    }
    update(child, item);
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
  for (const [key, child] of known) {
    if (wanted.has(key)) continue;
    child.remove();
    known.delete(key);
  }
}
