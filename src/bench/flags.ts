import { RudderError } from '../core/errors.js';

/** Reads the value of a flag that counts something; `flag` is named when it does not. */
export function parseCount(flag: string): (text: string) => number {
  return (text) => {
    if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
    throw new RudderError('usage', `${flag} "${text}": expected a number from 1 to 999`);
  };
}
