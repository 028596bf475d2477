import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BadRequest, parseRequest } from '../../../src/ops/http-request.js';

const GET = 'GET /status?x=1 HTTP/1.1\r\nHost: localhost:9478\r\nAccept: */*\r\n\r\n';
const PUT = 'PUT /log-level HTTP/1.1\r\nHost:a\r\ncontent-length: 5\r\n\r\ndebug';

function refusal(text: string): number | undefined {
  try {
    parseRequest(Buffer.from(text, 'latin1'));
    return undefined;
  } catch (error) {
    return (error as BadRequest).code;
  }
}

describe('parseRequest', () => {
  it('reads what we need of a request', () => {
    expect(parseRequest(Buffer.from(GET))).toEqual({
      request: {
        method: 'GET',
        path: '/status',
        query: new URLSearchParams('x=1'),
        host: 'localhost:9478',
        body: '',
        keepsAlive: true,
      },
      length: GET.length,
    });
    expect(parseRequest(Buffer.from(PUT))?.request).toMatchObject({ method: 'PUT', host: 'a', body: 'debug' });
  });

  it('leaves what follows the first request, and waits for what is missing of it', () => {
    expect(parseRequest(Buffer.from(PUT + GET))?.length).toBe(PUT.length);
    for (const request of [GET, PUT]) {
      for (let length = 0; length < request.length; length++) {
        expect(parseRequest(Buffer.from(request.slice(0, length))), request.slice(0, length)).toBeUndefined();
      }
    }
  });

  it.each([
    ['GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', false],
    ['GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: TE, Close\r\n\r\n', false],
    ['GET / HTTP/1.0\r\n\r\n', false],
    ['GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n', true],
  ])('knows whether the connection goes on: %j', (text, keepsAlive) => {
    expect(parseRequest(Buffer.from(text))?.request.keepsAlive).toBe(keepsAlive);
  });

  it.each([
    ['no method', 400, ' / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['another version', 400, 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
    ['a space in the path', 400, 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['garbage, at its first line', 400, '\0\x01\x02 not HTTP\r\n'],
    ['no host', 400, 'GET / HTTP/1.1\r\n\r\n'],
    ['two hosts', 400, 'GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n'],
    ['a space before the colon', 400, 'GET / HTTP/1.1\r\nHost : localhost\r\n\r\n'],
    ['a header that goes on in the next line', 400, 'GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n'],
    ['a line that ends with LF alone', 400, 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n'],
    ['a body of unknown length', 501, 'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['two lengths', 400, 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    ['a length that is none', 400, 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n'],
    ['a large body, before it comes', 413, 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n'],
    ['an endless head', 431, `GET / HTTP/1.1\r\nHost: ${'a'.repeat(9000)}`],
    ['a head that ends too late', 431, `GET / HTTP/1.1\r\nHost: ${'a'.repeat(9000)}\r\n\r\n`],
  ])('refuses %s', (_, code, text) => {
    expect(refusal(text)).toBe(code);
  });

  it('answers any bytes with a request, a refusal or patience that has an end', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(GET, PUT, '\r\n', 'Host: a', ' HTTP/1.1\r\n'),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const bytes = Buffer.from(pieces.join(''), 'latin1');
        try {
          const parsed = parseRequest(bytes);
          if (parsed === undefined) expect(bytes.length).toBeLessThan(8192 + 100);
          else expect(parsed.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(BadRequest);
        }
      }),
    );
  });
});
