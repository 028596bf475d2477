// Where nodes stand on the map: in a ring while there is room for their names, else in a field in the order of these, so that
// each is found again where it was.
import { cut, STATES } from './words.js';

/** Of so many the lines of a ring would be a ball of wool. */
const MOST_IN_RING = 40;
/** Of a name, in px: the font is whatever the reader's system has. */
const LETTER = 7.2;
/** Of a line of text, and of what stands below a name. */
const LINE = 17;
/** Of what mostly stands there, as `0.45 ms`. */
const SECOND_LETTERS = 7;
/** A node may come into any state where it stands. */
const LONGEST_STATE = Math.max(...Object.values(STATES).map(({ word }) => word.length));

export const isMany = (nodes) => nodes.length > MOST_IN_RING;

/** As on a telephone. */
export const isNarrow = (width) => width < 600;

/** @param names of the nodes, in their order @param width of the map @param windowHeight in px, as all here */
export function layoutOf(names, width, windowHeight) {
  const height = heightFor(width, windowHeight);
  const lengths = isMany(names) ? [] : isNarrow(width) ? [12] : [22, 16, 12];
  for (const most of lengths) {
    const round = ring(names, width, height, most);
    if (hasRoom(round)) return round;
  }
  return field(names, width, height);
}

/** As high as the window allows: on a wall it is the map that is looked at. */
const heightFor = (width, windowHeight) =>
  Math.round(Math.min(Math.max(width * 0.72, 340), Math.max(440, windowHeight * 0.7)));

/** @param most letters of a name */
function ring(short, width, height, most) {
  const names = short.map((name) => cut(name, most));
  const margin = Math.min(Math.max(...names.map((name) => name.length), LONGEST_STATE) * LETTER + 34, width * 0.34);
  const radius = short.length <= 16 ? 13 : 9;
  const center = { x: width / 2, y: height / 2 };
  const reach = { x: Math.max(width / 2 - margin, 60), y: height / 2 - 56 };
  const places = short.map((_, i) => {
    const turn = (2 * Math.PI * i) / short.length - Math.PI / 2;
    const [x, y] = [Math.cos(turn), Math.sin(turn)];
    const side = short.length <= 2 || Math.abs(x) < (isNarrow(width) ? 0.1 : 0.3) ? 'middle' : x > 0 ? 'start' : 'end';
    const gap = radius + 9;
    const label = side === 'middle' ? { x: 0, y: y < 0 ? -gap - 16 : gap + 9 } : { x: x > 0 ? gap : -gap, y: -2 };
    return { x: center.x + x * reach.x, y: center.y + y * reach.y, label, side };
  });
  return { height, radius, places, names, center, below: true };
}

/** Whether no name covers another one, or another node. */
function hasRoom({ places, names, radius }) {
  const boxes = places.map((place, i) => boxesOf(place, names[i], radius));
  return boxes.every((some, i) =>
    boxes.slice(i + 1).every((others) => !some.some((a) => others.some((b) => meet(a, b)))),
  );
}

/** Of a node: its mark, its name, and the line below that. */
function boxesOf({ x, y, label, side }, name, radius) {
  const line = (letters, down) => {
    const length = letters * LETTER;
    const left = x + label.x - (side === 'middle' ? length / 2 : side === 'end' ? length : 0);
    const base = y + label.y + down;
    return { left, right: left + length, top: base - LETTER * 1.5, bottom: base + 3 };
  };
  const mark = { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius };
  return [mark, line(name.length, 0), line(SECOND_LETTERS, LINE)];
}

const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

function field(short, width, least) {
  const height = Math.max(least, isNarrow(width) ? 560 : 0);
  const columns = Math.max(1, Math.round(Math.sqrt((short.length * width) / height / 1.7)));
  const rows = Math.ceil(short.length / columns);
  const cell = { x: width / columns, y: Math.max(height / rows, 20) };
  const hasNames = cell.x >= 46 && cell.y >= 26;
  const radius = hasNames ? Math.min(6, cell.y / 5) : Math.min(7, cell.x / 3.4);
  const most = Math.floor((cell.x - 4) / 5.6);
  const places = short.map((_, i) => ({
    x: ((i % columns) + 0.5) * cell.x,
    y: (Math.floor(i / columns) + 0.5) * cell.y - (hasNames ? 6 : 0),
    label: { x: 0, y: radius + 11 },
    side: 'middle',
  }));
  return {
    height: rows * cell.y,
    radius,
    places,
    names: short.map((name) => (hasNames ? cut(name, most) : '')),
    columns,
    below: false,
  };
}
