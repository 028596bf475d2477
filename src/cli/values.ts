import { InvalidArgumentError } from 'commander';
import { OFFLOADS, type Offload } from '../backend/packet-path/tables/offloads.js';
import { parseIpv4 } from '../core/address-text.js';
import { quote } from '../core/errors.js';
import { EVENT_AREAS, EVENT_KINDS } from '../core/event.js';
import { type Ipv4, isUnusableAsHost } from '../core/ipv4.js';
import { isHostName } from '../core/lease.js';

/** Parsers of single option values. Each throws commander's InvalidArgumentError, which becomes one error line. */

export function parseWholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

export function parseHostAddress(text: string): Ipv4 {
  const address = parseIpv4(text);
  if (address === undefined || isUnusableAsHost(address)) {
    throw new InvalidArgumentError('Expected the IPv4 address of a host, such as 10.1.1.7.');
  }
  return address;
}

/** As a lease may hold one. */
export function parseHostName(text: string): string {
  if (!isHostName(text)) throw new InvalidArgumentError('Expected letters, digits, ".", "-" and "_", such as node-1.');
  return text;
}

/** An address, or what may be the name of a node. */
export function parseNode(text: string): Ipv4 | string {
  return isHostName(text) ? text : parseHostAddress(text);
}

/** An own address, or 0.0.0.0 for all of them. */
export function parseListenAddress(text: string): Ipv4 {
  const address = parseIpv4(text);
  if (address === undefined) throw new InvalidArgumentError('Expected an IPv4 address, 0.0.0.0 for all.');
  return address;
}

/** `true`, `false`, `1`, `0`: environment variables cannot just be present or absent like a flag. */
export function parseBoolean(text: string): boolean {
  if (/^(true|1)$/i.test(text)) return true;
  if (/^(false|0)$/i.test(text)) return false;
  throw new InvalidArgumentError('Expected true or false.');
}

/** For a `--no-x` option, which commander stores under `x`. */
export function parseNegated(text: string): boolean {
  return !parseBoolean(text);
}

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90s`, `30m`, `24h`, `7d`; in seconds. A bare number could mean any of these. */
export function parseDuration(minSeconds: number, maxSeconds: number): (text: string) => number {
  return (text) => {
    const [, number = '', unit = ''] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
    if (number !== '' && unit === '') {
      throw new InvalidArgumentError(`Expected a time with its unit, such as ${number}h or ${number}s.`);
    }
    const seconds = unit === '' ? Number.NaN : Number(number) * UNIT_SECONDS[unit];
    if (!(seconds >= minSeconds && seconds <= maxSeconds)) {
      throw new InvalidArgumentError(`Expected a time from ${minSeconds}s to ${maxSeconds}s, such as 24h or 90s.`);
    }
    return seconds;
  };
}

/** A kind of event, or an area of such kinds. */
export function parseEventKind(text: string): string {
  if (EVENT_AREAS.includes(text) || (EVENT_KINDS as readonly string[]).includes(text)) return text;
  throw new InvalidArgumentError(`Expected one of ${EVENT_AREAS.join(', ')}, or a kind such as peer.silent.`);
}

/** The least is etcd's with its default election timeout, the most a year. */
export const parseLeaseTtl = parseDuration(5, 365 * 86_400);

export function parseEndpoints(text: string): string[] {
  const endpoints = text.split(',').map((part) => part.trim().replace(/\/$/, ''));
  for (const endpoint of endpoints) {
    if (!URL.canParse(endpoint) || !/^https?:\/\/[^/@?#]*[^/@?#:]$/.test(endpoint)) {
      throw new InvalidArgumentError(`${quote(endpoint)} is not like http://host:2379 or https://host:2379.`);
    }
  }
  const schemes = new Set(endpoints.map((endpoint) => new URL(endpoint).protocol));
  if (schemes.size > 1) throw new InvalidArgumentError('Expected all http:// or all https://, not a mixture.');
  // gRPC wants the port, a URL may leave it out.
  return endpoints.map((endpoint) => (/:\d+$/.test(endpoint) ? endpoint : `${endpoint}:2379`));
}

export function parseApiUrl(text: string): string {
  const url = text.replace(/\/+$/, '');
  if (URL.canParse(url) && /^https?:\/\/[^/@?#]+$/.test(url)) return url;
  throw new InvalidArgumentError('Expected a URL such as https://10.1.1.1:6443.');
}

/** As flannel takes one: a domain, and perhaps a name behind a slash. */
export function parseAnnotationPrefix(text: string): string {
  if (/^([a-z0-9_-]+\.)+[a-z0-9_-]+(\/([a-z0-9_-]+)?)?$/.test(text)) return text;
  throw new InvalidArgumentError(
    'Expected a domain, and perhaps a name behind a slash, such as flannel.alpha.coreos.com.',
  );
}

export function parsePrefix(text: string): string {
  const prefix = text.replace(/\/+$/, '');
  if (!/^\/[^\s]+$/.test(prefix)) throw new InvalidArgumentError('Expected an etcd path such as /coreos.com/network.');
  return prefix;
}

export function parsePath(text: string): string {
  if (text === '' || text.length > 4095) throw new InvalidArgumentError('Expected a path.');
  return text;
}

export function parseEnvPrefix(text: string): string {
  if (!/^[A-Z][A-Z0-9_]{0,63}$/.test(text)) throw new InvalidArgumentError('Expected capital letters such as FLANNEL.');
  return text;
}

/** For an option that may be given more than once, or once with commas (as an environment variable must). */
export function parseInterfaces(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(',').map((part) => parseInterface(part.trim()))];
}

/** The same for patterns, but without commas: they may be part of one. */
export function parseRegexes(text: string, before: RegExp[] = []): RegExp[] {
  return [...before, parseRegex(text)];
}

function parseRegex(text: string): RegExp {
  try {
    // An empty one would match every interface.
    if (text !== '') return new RegExp(text);
  } catch {
    // said below
  }
  throw new InvalidArgumentError('Expected a regular expression.');
}

function parseInterface(text: string): string {
  if (text === '' || text.length > 15 || /[\s/]/.test(text)) {
    throw new InvalidArgumentError('Expected an interface name or an IPv4 address.');
  }
  return text;
}

/** Names of offloads, separated by commas; `all` for every one. */
export function parseOffloads(text: string, before: Offload[] = []): Offload[] {
  const names = text.split(',').flatMap((part) => (part.trim() === 'all' ? OFFLOADS : [part.trim()]));
  for (const name of names) {
    if (!(OFFLOADS as readonly string[]).includes(name)) {
      throw new InvalidArgumentError(`${quote(name)} is not all or one of ${OFFLOADS.join(', ')}.`);
    }
  }
  return [...before, ...(names as Offload[])];
}
