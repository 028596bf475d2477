import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Pki = ReturnType<typeof createPki>;

/** Certificate authorities and certificates in a directory of their own: `name.crt` and `name.key`. */
export function createPki() {
  const directory = mkdtempSync(join(tmpdir(), 'rudder-pki-'));
  const path = (file: string) => join(directory, file);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const out = (name: string, kind: string) => ['-keyout', `${name}.key`, '-out', `${name}.${kind}`];

  return {
    path,
    authority(name: string): void {
      openssl('req', '-x509', ...newKey, '-subj', `/CN=${name}`, '-days', '2', ...out(name, 'crt'));
    },
    /** @param days until it ends; -1: it has ended yesterday */
    certificate(name: string, authority: string, subjectAltName: string, days = 2): void {
      writeFileSync(path(`${name}.ext`), `subjectAltName=${subjectAltName}\nextendedKeyUsage=serverAuth,clientAuth\n`);
      openssl('req', ...newKey, '-subj', `/CN=${name}`, ...out(name, 'csr'));
      const signer = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial'];
      const request = ['-in', `${name}.csr`, '-extfile', `${name}.ext`, '-days', String(days)];
      openssl('x509', '-req', ...request, ...signer, '-out', `${name}.crt`);
    },
    /** Puts a copy of a file in the place of another one, at once. */
    install(file: string, as: string): string {
      copyFileSync(path(file), path(`${as}.new`));
      renameSync(path(`${as}.new`), path(as));
      return path(as);
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
