import { isSameConfig, parseNetworkConfig } from '../../backend/config.js';
import { editConfig, hasSameKeys, unknownKeysIn } from '../../backend/config-edit.js';
import { parseNewNetworkConfig } from '../../backend/new-config.js';
import type { Administration, StoredConfig } from '../../control/administration.js';
import { openAdministration } from '../../control/open.js';
import { rudderCommand } from '../../core/command-line.js';
import { messageOf, quote, RudderError, shorten } from '../../core/errors.js';
import { correctKey, createIt, type NetworkConfig } from '../../core/network-config.js';
import { redactJson } from '../../core/secrets.js';
import { EXIT_OK } from '../exit-codes.js';
import { printable } from '../printable.js';
import { type RawRegistryOptions, toRegistryOptions } from '../registry-options.js';
import { fieldLines } from './changes.js';
import { changesIn, noteOf, parseNote } from './history.js';
import { type Plan, planChange } from './plan.js';

/** `rudder config`: the network config, which is the whole cluster's. */
export type ConfigStore = Pick<
  Administration,
  'configPlace' | 'getConfig' | 'readConfig' | 'createConfig' | 'replaceConfig' | 'configHistory' | 'listClaims'
>;

type Print = (text: string) => void;

const toStdout: Print = (text) => void process.stdout.write(`${text}\n`);

export async function withAdministration(
  raw: RawRegistryOptions,
  work: (administration: ConfigStore, print: Print) => Promise<void>,
): Promise<number> {
  const administration = await openAdministration(toRegistryOptions(raw));
  try {
    await work(administration, toStdout);
    return EXIT_OK;
  } finally {
    administration.close();
  }
}

export interface Shown {
  readonly json: boolean;
  readonly showSecrets: boolean;
}

/** `rudder config get`: what is stored, and what it means. */
export async function getConfig(administration: ConfigStore, { json, showSecrets }: Shown, print: Print) {
  const { configPlace } = administration;
  const stored = await administration.getConfig();
  if (stored === undefined) throw missing(administration);
  const shown = showSecrets ? stored : redactJson(stored);
  print(json ? prettyOf(shown) : `${configPlace.key}\n${prettyOf(shown)}`);
  const config = parseNetworkConfig(stored, correctKey(configPlace));
  if (json) return;
  const lines = fieldLines(config, showSecrets);
  const width = Math.max(...lines.map(([name]) => name.length));
  print(['', 'It means:', ...lines.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)].join('\n'));
  for (const text of unknownKeysIn(shown)) print(`ignored: ${shorten(text, 500)}`);
}

/** Anybody may have stored anything: what is no JSON is shown on one line. */
function prettyOf(text: string): string {
  try {
    return JSON.stringify(printable(JSON.parse(text)), null, 2);
  } catch {
    return shorten(text, 500);
  }
}

function missing({ configPlace }: ConfigStore): RudderError {
  return new RudderError(
    'network-config',
    `there is no network config ${configPlace.key}: expected one; ${createIt(configPlace)}`,
  );
}

export interface Wish {
  /** A key, or the whole config as JSON. */
  readonly key: string;
  /** Undefined: the whole config is given. */
  readonly value: string | undefined;
  readonly yesRenumber: boolean;
  readonly dryRun: boolean;
}

/** `rudder config set`: a plan, and if nothing is against it the change. */
export async function setConfig(administration: ConfigStore, wish: Wish, print: Print): Promise<void> {
  const stored = await administration.readConfig();
  const { json, dropped } = wantedBy(administration, stored?.json, wish);
  const unknown = wish.value === undefined ? [] : unknownKeysIn(stored?.json ?? '');
  const after = parseNewNetworkConfig(json, unknown);
  const before = stored && meaningOf(stored.json);
  const { key } = administration.configPlace;
  if (stored && before && isSameConfig(before, after) && hasSameKeys(stored.json, json)) {
    return print(`${key} holds this config already: nothing is written`);
  }
  const stays = unknownKeysIn(json);
  const plan = planChange({ before, after, claims: await administration.listClaims(), dropped, unknown: stays });
  print(describePlan(key, stored, before, plan));
  if (plan.refusal !== undefined && !wish.yesRenumber) throw new RudderError('renumbering', plan.refusal);
  if (wish.dryRun) return print('Nothing is written.');
  await write(administration, stored, json);
  print(`Written: ${key}`);
}

function wantedBy(administration: ConfigStore, stored: string | undefined, { key, value }: Wish) {
  if (value === undefined) {
    if (key.trimStart().startsWith('{')) return { json: key, dropped: [] };
    throw new RudderError(
      'usage',
      `config set ${quote(key)}: expected KEY VALUE, or the whole config as JSON; "" as VALUE removes a key`,
    );
  }
  if (stored === undefined) throw missing(administration);
  try {
    return editConfig(stored, key, value);
  } catch (error) {
    const whole = rudderCommand(['config', 'set', '{"Network":"10.240.0.0/16"}'], administration.configPlace);
    throw new RudderError('network-config', `${messageOf(error)}; for example ${whole}`);
  }
}

function meaningOf(json: string): NetworkConfig | undefined {
  try {
    return parseNetworkConfig(json);
  } catch {
    return undefined;
  }
}

function describePlan(
  key: string,
  stored: StoredConfig | undefined,
  before: NetworkConfig | undefined,
  { changes, notes }: Plan,
): string {
  const lines = changes.length > 0 ? changes : ['nothing of what it means, only how it is written'];
  const none =
    stored === undefined ? 'is not there' : 'holds no valid config, so that there is no meaning to compare with';
  return [
    `Plan for ${key}${before === undefined ? `, which ${none}` : ''}:`,
    ...[...lines, ...notes].map((line) => `  ${line}`),
  ].join('\n');
}

async function write(administration: ConfigStore, stored: StoredConfig | undefined, json: string): Promise<void> {
  const note = noteOf(stored?.json, json);
  const isDone =
    stored === undefined
      ? await administration.createConfig(json, note)
      : await administration.replaceConfig(stored.revision, json, note);
  if (isDone) return;
  throw new RudderError(
    'config-exists',
    `${administration.configPlace.key} was changed by somebody meanwhile: expected it as it was read for this plan, and nothing is written; look at it with ${rudderCommand(['config', 'get'], administration.configPlace)}, and try again`,
  );
}

/** `rudder config history`: the last versions, newest first. */
export async function showHistory(administration: ConfigStore, { json, showSecrets }: Shown, print: Print) {
  const versions = (await administration.configHistory()).flatMap(({ number, note }) => {
    const version = parseNote(note);
    if (version === undefined) return [];
    const { at, host, user } = version;
    const config = asJson(showSecrets ? version.config : redactJson(version.config));
    return [{ version: number, at, host, user, changes: changesIn(version, showSecrets), config }];
  });
  if (json) return print(JSON.stringify(versions, null, 2));
  if (versions.length === 0) print('No version is noted: neither rudder init nor rudder config set has written one.');
  for (const { at, host, user, changes } of versions) {
    print(`${at.slice(0, 19).replace('T', ' ')} UTC  ${user} on ${host}: ${changes.join(', ')}`);
  }
}

function asJson(text: string): unknown {
  try {
    return printable(JSON.parse(text));
  } catch {
    return shorten(text, 500);
  }
}
