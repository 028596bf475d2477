import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type CertificateEnd, certificateEnd, expiryWarning, parseCertificates } from '../../core/certificates.js';
import { messageOf, RudderError, shorten } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { createRateLimit, createRepeatLimit } from '../../core/rate-limit.js';
import { readPasswordFile } from './password-file.js';

/** PEM files. They may be replaced at any time: what is in them is read anew whenever a connection fails. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** A user of etcd; the file holds the password and nothing else, and may be replaced too. */
export type EtcdAuth = { readonly username: string } & (
  | { readonly password: string }
  | { readonly passwordFile: string }
);

/** What TLS is made of, and the ends of what of it ends. */
export interface Tls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly ends: readonly CertificateEnd[];
}

export interface Credentials {
  /** The same object until the content of a file changes. */
  readonly tls: Tls | undefined;
  readonly password: string | undefined;
}

export interface CredentialFiles {
  readonly tls?: TlsFiles;
  readonly auth?: EtcdAuth;
}

export interface CredentialKeeper {
  /** As last read while all was well with them. @throws RudderError `file` if that was never so */
  current(): Credentials;
  /** Something was refused or failed: the files are looked at again, at most once a second. */
  refresh(): void;
  /** What ends of what is in use; empty while nothing could be read. */
  ends(): readonly CertificateEnd[];
  /** To be called now and then: has the files looked at once a minute, and tells of certificates that end soon. */
  tend(): void;
}

const REFRESH_MS = 1000;
const TEND_MS = 60_000;
const DAY_MS = 86_400_000;

/** @param now milliseconds of a clock that never goes back */
export function keepCredentials(
  files: CredentialFiles,
  log: Logger | undefined,
  now: () => number = () => performance.now(),
): CredentialKeeper {
  let known: Credentials | undefined;
  let problem: unknown;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let tendedAt = Number.NEGATIVE_INFINITY;
  const problemLimit = createRepeatLimit();
  const warningLimits = new Map<string, ReturnType<typeof createRateLimit>>();

  function look(): void {
    lookedAt = now();
    try {
      const found = readCredentials(files);
      const isNew = known !== undefined && !isSame(known, found);
      if (known === undefined || isNew) known = { tls: sameTls(known?.tls, found.tls), password: found.password };
      if (isNew)
        log?.info({ certificates: known.tls?.ends }, "etcd's credentials have changed: new connections use them");
      problem = undefined;
    } catch (error) {
      // Perhaps it is being replaced at this moment. What we have may still work.
      problem = error;
      if (known === undefined) return;
      problemLimit((suppressed) =>
        log?.warn(
          { reason: messageOf(error), suppressed },
          "etcd's credentials cannot be read: going on with the old ones",
        ),
      );
    }
  }

  function refresh(): void {
    if (now() - lookedAt >= REFRESH_MS) look();
  }

  function warn(): void {
    for (const end of known?.tls?.ends ?? []) {
      const warning = expiryWarning(end, Date.now());
      if (warning === undefined) warningLimits.delete(end.file);
      else {
        const limit = warningLimits.get(end.file) ?? createRateLimit(DAY_MS, now);
        warningLimits.set(end.file, limit);
        limit(() => log?.warn({ ...end }, warning));
      }
    }
  }

  return {
    current() {
      if (known === undefined) refresh();
      if (known === undefined) throw problem;
      return known;
    },
    refresh,
    ends: () => known?.tls?.ends ?? [],
    tend() {
      if (now() - tendedAt < TEND_MS) return;
      tendedAt = now();
      refresh();
      warn();
    },
  };
}

const isEqual = (a: Buffer | undefined, b: Buffer | undefined) =>
  a === undefined || b === undefined ? a === b : a.equals(b);

/** The known one, unless the content differs. */
function sameTls(known: Tls | undefined, found: Tls | undefined): Tls | undefined {
  if (known === undefined || found === undefined) return found;
  const isSame = isEqual(known.ca, found.ca) && isEqual(known.cert, found.cert) && isEqual(known.key, found.key);
  return isSame ? known : found;
}

const isSame = (known: Credentials, found: Credentials) =>
  sameTls(known.tls, found.tls) === known.tls && known.password === found.password;

function readCredentials({ tls, auth }: CredentialFiles): Credentials {
  return { tls: tls && readTls(tls), password: auth && readPassword(auth) };
}

const readPassword = (auth: EtcdAuth) => ('password' in auth ? auth.password : readPasswordFile(auth.passwordFile));

/**
 * Reads the files and checks that they are what they should be: TLS itself would say so in nobody's words.
 * @throws RudderError `file`
 */
export function readTls(files: TlsFiles): Tls {
  const ca = files.ca === undefined ? undefined : readCertificateFile('--etcd-cafile', files.ca);
  const cert = files.cert === undefined ? undefined : readCertificateFile('--etcd-certfile', files.cert);
  const key = files.key === undefined ? undefined : readFile('--etcd-keyfile', files.key, 'the PEM file of a key');
  if (cert !== undefined && key !== undefined) checkKey(files, cert.certificates[0], key);
  const ends = [];
  // One CA of a bundle is enough; of a chain each is needed.
  if (ca !== undefined) ends.push(certificateEnd(ca.file, ca.certificates, Math.max));
  if (cert !== undefined) ends.push(certificateEnd(cert.file, cert.certificates, Math.min));
  return { ca: ca?.pem, cert: cert?.pem, key, ends };
}

interface CertificateFile {
  readonly file: string;
  readonly pem: Buffer;
  readonly certificates: X509Certificate[];
}

function readCertificateFile(flag: string, file: string): CertificateFile {
  const expected = 'a PEM file of certificates';
  const pem = readFile(flag, file, expected);
  let certificates: X509Certificate[];
  try {
    certificates = parseCertificates(pem);
  } catch (error) {
    throw fileError(flag, file, 'holds a damaged certificate', expected, error);
  }
  if (certificates.length === 0) throw fileError(flag, file, 'holds no certificate', expected);
  return { file, pem, certificates };
}

function checkKey({ cert = '', key = '' }: TlsFiles, certificate: X509Certificate, pem: Buffer): void {
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(pem));
  } catch (error) {
    throw fileError(
      '--etcd-keyfile',
      key,
      'holds no key that can be used',
      'a private key in PEM without a passphrase',
      error,
    );
  }
  if (!fits)
    throw fileError('--etcd-keyfile', key, `does not fit ${shorten(cert, 200)}`, 'the key of that certificate');
}

function readFile(flag: string, path: string, expected: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot read ${flag} ${shorten(path, 200)}: ${messageOf(error)}; expected ${expected}`,
      {
        cause: error,
      },
    );
  }
}

function fileError(flag: string, path: string, problem: string, expected: string, cause?: unknown): RudderError {
  return new RudderError('file', `${flag} ${shorten(path, 200)} ${problem}: expected ${expected}`, { cause });
}
