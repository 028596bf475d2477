import { AF_INET, attribute, attributesOf, uint32 } from './messages.js';
import { NLM_F_CREATE, NLM_F_EXCL, type Requests } from './requests.js';

/** linux/rtnetlink.h and linux/fib_rules.h: rules of policy routing. */
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

/** struct fib_rule_hdr: family, dst length, src length, tos, table, two reserved, action (8 bits each), flags. */
const FIB_RULE_HDR_BYTES = 12;
const FR_ACT_TO_TBL = 1;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_PROTOCOL = 21;
const WHOLE_MARK = 0xffffffff;

/** Packets with exactly this mark look into that table first. */
export interface MarkRule {
  readonly mark: number;
  readonly table: number;
  /** Rules with a lower number come before it. */
  readonly priority: number;
  /** Who made it, as of routes. */
  readonly protocol: number;
}

/** Rules of that protocol. */
export async function listRules(requests: Requests, protocol: number): Promise<MarkRule[]> {
  const body = Buffer.alloc(FIB_RULE_HDR_BYTES);
  body[0] = AF_INET;
  const rules: MarkRule[] = [];
  await requests.dump('list rules', RTM_GETRULE, body, (message) => {
    const attributes = attributesOf(message.body, FIB_RULE_HDR_BYTES);
    if (message.body[0] !== AF_INET || attributes.get(FRA_PROTOCOL)?.[0] !== protocol) return;
    rules.push({
      mark: attributes.get(FRA_FWMARK)?.readUInt32LE() ?? 0,
      table: attributes.get(FRA_TABLE)?.readUInt32LE() ?? message.body[4],
      priority: attributes.get(FRA_PRIORITY)?.readUInt32LE() ?? 0,
      protocol,
    });
  });
  return rules;
}

export const addRule = (requests: Requests, rule: MarkRule) =>
  requests.change('add a rule', RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, bodyOf(rule));

/** @throws ENOENT if there is none */
export const deleteRule = (requests: Requests, rule: MarkRule) =>
  requests.change('delete a rule', RTM_DELRULE, 0, bodyOf(rule));

function bodyOf({ mark, table, priority, protocol }: MarkRule): Buffer {
  const header = Buffer.from([AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0]);
  const attributes = [
    attribute(FRA_PRIORITY, uint32(priority)),
    attribute(FRA_FWMARK, uint32(mark)),
    attribute(FRA_FWMASK, uint32(WHOLE_MARK)),
    attribute(FRA_TABLE, uint32(table)),
    attribute(FRA_PROTOCOL, Buffer.from([protocol])),
  ];
  return Buffer.concat([header, ...attributes]);
}
