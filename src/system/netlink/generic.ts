import { attribute, attributesOf, text } from './messages.js';
import type { Requests } from './requests.js';

/** linux/genetlink.h: struct genlmsghdr is command and version (8 bits each), and two reserved bytes; attributes follow. */
export const GENL_HEADER_BYTES = 4;
/** The family that knows the others. */
const GENL_ID_CTRL = 0x10;
const CTRL_VERSION = 1;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

export const generic = (command: number, version: number, ...attributes: readonly Buffer[]) =>
  Buffer.concat([Buffer.from([command, version, 0, 0]), ...attributes]);

/**
 * The number that the family has since its module was loaded, which is the type of its messages.
 * @throws NetlinkError ENOENT if there is none
 */
export async function familyOf(requests: Pick<Requests, 'ask'>, name: string): Promise<number> {
  const body = generic(CTRL_CMD_GETFAMILY, CTRL_VERSION, attribute(CTRL_ATTR_FAMILY_NAME, text(name)));
  const { body: answer } = await requests.ask(`look up ${name}`, GENL_ID_CTRL, body);
  return attributesOf(answer, GENL_HEADER_BYTES).get(CTRL_ATTR_FAMILY_ID)!.readUInt16LE();
}
