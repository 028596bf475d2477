import { request as httpRequest } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { readTls, type TlsFiles } from './credentials.js';

const TIMEOUT_MS = 2000;

/** What an endpoint says of the time: etcd's web server tells it in each answer. Undefined: it tells none. */
export async function dateOf(endpoint: string, files: TlsFiles = {}): Promise<Date | undefined> {
  const url = `${endpoint}/version`;
  let options: RequestOptions;
  try {
    const { ca, cert, key } = readTls(files);
    options = { timeout: TIMEOUT_MS, ca, cert, key };
  } catch {
    return undefined;
  }
  return new Promise((resolve) => {
    const request = (url.startsWith('https:') ? httpsRequest : httpRequest)(url, options, (answer) => {
      answer.resume();
      const date = new Date(answer.headers.date ?? Number.NaN);
      resolve(Number.isNaN(date.getTime()) ? undefined : date);
    });
    request.on('error', () => resolve(undefined));
    request.on('timeout', () => request.destroy());
    request.end();
  });
}
