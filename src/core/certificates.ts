import { X509Certificate } from 'node:crypto';
import { counted } from './counted.js';

/** A certificate as far as its end is concerned. */
export interface CertificateEnd {
  readonly file: string;
  readonly subject: string;
  /** ISO 8601, in UTC. */
  readonly notAfter: string;
}

/** From here on it is warned of. */
const WARNING_MS = 14 * 86_400_000;

const BLOCK = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** Those of a PEM file, in its order; empty if there are none. @throws Error if one cannot be read */
export function parseCertificates(pem: Buffer): X509Certificate[] {
  return (pem.toString('latin1').match(BLOCK) ?? []).map((block) => new X509Certificate(block));
}

/** The name that a person would look for, on one line: `CN=etcd,O=Example`. */
export const subjectOf = ({ subject }: X509Certificate): string =>
  (subject ?? '').split('\n').reverse().join(',') || 'without a name';

/** Moment of the end, in milliseconds. */
export const endOf = ({ validTo }: X509Certificate): number => Date.parse(validTo);

/** What a certificate of the file ends with. @param pick which of two ends counts: of a chain the first, of CAs the last */
export function certificateEnd(
  file: string,
  certificates: readonly X509Certificate[],
  pick: (...ends: number[]) => number,
): CertificateEnd {
  const end = pick(...certificates.map(endOf));
  const one = certificates.find((certificate) => endOf(certificate) === end) ?? certificates[0];
  return { file, subject: subjectOf(one), notAfter: new Date(end).toISOString() };
}

/** What to say of a certificate that has ended or will within 14 days; undefined: nothing. @param now milliseconds */
export function expiryWarning({ file, subject, notAfter }: CertificateEnd, now: number): string | undefined {
  const leftMs = Date.parse(notAfter) - now;
  if (leftMs > WARNING_MS) return undefined;
  const days = Math.floor(leftMs / 86_400_000);
  const left = days > 0 ? counted(days, 'day') : `${Math.max(1, Math.floor(leftMs / 3_600_000))} h`;
  const when = leftMs <= 0 ? `has expired, on ${notAfter}` : `expires in ${left}, on ${notAfter}`;
  return `the certificate "${subject}" in ${file} ${when}: put a new one into that file, it is read again by itself`;
}
