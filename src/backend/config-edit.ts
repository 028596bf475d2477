import { RudderError } from '../core/errors.js';
import { CONFIG_KEYS } from '../core/network-config.js';
import { KINDS } from './kinds.js';
import { unknownKeys } from './new-config.js';

/** One key of the config with another value, as text: what is there stays as it was written. */
export interface Edit {
  readonly json: string;
  /** Options of the former backend that the new one does not know, and that went with it. */
  readonly dropped: readonly string[];
}

type Json = Record<string, unknown>;

/**
 * @param key in any case, such as `SubnetLen` or `Backend.MTU`
 * @param text a number, true, false or any text; empty: the key goes
 * @throws RudderError `network-config`; whether the result makes sense is not looked at
 */
export function editConfig(before: string, key: string, text: string): Edit {
  const config = parseObject(before);
  const [first, ...rest] = key.split('.');
  if (!isSame(first, 'Backend')) return { json: JSON.stringify(withKey(config, key, CONFIG_KEYS, text)), dropped: [] };
  if (rest.length === 0 && text !== '') {
    throw refused('Backend has keys of its own: expected Backend.Type, Backend.<option>, or the whole config');
  }
  const all = [...CONFIG_KEYS];
  if (rest.length === 0) return { json: JSON.stringify(withValue(config, 'Backend', all, undefined)), dropped: [] };
  const backend = asObject(valueAt(config, 'Backend'));
  const option = rest.join('.');
  const after = withKey(backend, option, ['Type', ...keysOf(typeOf(backend))], text);
  const { kept, dropped } = isSame(option, 'Type') ? forType(after, typeOf(backend)) : { kept: after, dropped: [] };
  return { json: JSON.stringify(withValue(config, 'Backend', all, kept)), dropped };
}

function parseObject(json: string): Json {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch {
    // Below.
  }
  throw refused('what is stored is no JSON object, so that no key of it can be set: expected the whole config');
}

/** Replaces each spelling of a key by one; a new key goes last, as it is spelled in the documentation. */
function withKey(object: Json, key: string, known: readonly string[], text: string): Json {
  const isThere = Object.keys(object).some((name) => isSame(name, key));
  // Of a key that nobody knows and that is not there nothing can be removed: null is refused by its name.
  const isNone = text === '' && (isThere || known.some((name) => isSame(name, key)));
  return withValue(object, key, known, isNone ? undefined : valueIn(text));
}

function withValue(object: Json, key: string, known: readonly string[], value: unknown): Json {
  const spelled = known.find((name) => isSame(name, key)) ?? key;
  const entries = Object.entries(object);
  const at = entries.findIndex(([name]) => isSame(name, key));
  const others = entries.filter(([name], index) => index === at || !isSame(name, key));
  if (value === undefined) return Object.fromEntries(others.filter(([name]) => !isSame(name, key)));
  if (at === -1) return { ...object, [spelled]: value };
  return Object.fromEntries(others.map(([name, old]) => (isSame(name, key) ? [name, value] : [name, old])));
}

/** A number or a boolean as JSON has it; else text. */
function valueIn(text: string): unknown {
  if (text === '') return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'number' || typeof value === 'boolean' ? value : text;
  } catch {
    return text;
  }
}

/** What is left of a backend's options under another type. */
function forType(backend: Json, former: string): { kept: Json; dropped: string[] } {
  const type = typeOf(backend);
  const isKnown = KINDS.some((kind) => kind.type === type);
  if (type === former || !isKnown) return { kept: backend, dropped: [] };
  const known = ['Type', ...keysOf(type)];
  const isOwn = (name: string) => known.some((own) => isSame(own, name));
  const entries = Object.entries(backend);
  return {
    kept: Object.fromEntries(entries.filter(([name]) => isOwn(name))),
    dropped: entries.filter(([name]) => !isOwn(name)).map(([name]) => `Backend.${name}`),
  };
}

/** What is no config as a whole has a type all the same, if only the default one. */
const typeOf = (backend: Json) => String(valueAt(backend, 'Type') ?? 'udp').toLowerCase();

const keysOf = (type: string) => KINDS.find((kind) => kind.type === type)?.keys ?? [];

/** The last of several spellings counts. */
const valueAt = (object: Json, key: string) => Object.entries(object).findLast(([name]) => isSame(name, key))?.[1];

const asObject = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};

const isSame = (one: string, other: string) => one.toLowerCase() === other.toLowerCase();

const refused = (what: string) => new RudderError('network-config', `network config: ${what}`);

/** What unknownKeys says of one that may be no config at all. */
export function unknownKeysIn(json: string): string[] {
  try {
    parseObject(json);
    return unknownKeys(json);
  } catch {
    return [];
  }
}

/** Whether they have the same keys, in any case: those of one mean something, and are not only the defaults of it. */
export function hasSameKeys(one: string, other: string): boolean {
  const [a, b] = [one, other].map((json) => pathsOf(parseObject(json)).join());
  return a === b;
}

function pathsOf(config: Json): string[] {
  const given = Object.entries(config).filter(([, value]) => value !== null);
  return given
    .flatMap(([name, value]) =>
      isSame(name, 'Backend') ? pathsOf(asObject(value)).map((path) => `backend.${path}`) : name.toLowerCase(),
    )
    .sort();
}
