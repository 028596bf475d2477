import { RudderError } from '../../core/errors.js';
import type { CredentialKeeper } from './credentials.js';
import { isAnswer, mostTelling } from './errors.js';
import { isRecoverableError } from './library.js';
import { type Client, createMember, type Member } from './member.js';
import type { EtcdOptions } from './options.js';

/**
 * The members of the etcd cluster, of which one is in use until it fails, and then the next.
 *
 * etcd3 given several hosts takes another one at random for each call and each stream, also one that has just failed:
 * a frozen member would cost a third of all requests their deadline, for as long as it is frozen.
 */
export interface EtcdMembers {
  /** For a stream; who finds out that it does not work says so with `leave`. */
  inUse(): Member;
  /**
   * Sends a request to the member in use, and if that cannot be reached, to each of the others once.
   * @throws RudderError the most telling of what they have said
   */
  ask<T>(request: (client: Client) => Promise<T>): Promise<T>;
  /** This one cannot be reached: the next is in use, unless another one is already. */
  leave(member: Member): void;
  close(): void;
}

export function connectMembers(options: EtcdOptions, credentials: CredentialKeeper, deadlineMs: number): EtcdMembers {
  const members = options.endpoints.map((endpoint) => createMember(endpoint, options, credentials, deadlineMs));
  // The nodes of a cluster share its members.
  let used = Math.floor(Math.random() * members.length);

  function leave(member: Member): void {
    if (member === members[used]) used = (used + 1) % members.length;
  }

  return {
    inUse: () => members[used],
    async ask(request) {
      const failures: { member: Member; thrown: unknown }[] = [];
      while (failures.length < members.length) {
        const member = members[used];
        try {
          return await member.ask(request);
        } catch (thrown) {
          if (thrown instanceof RudderError) throw thrown; // of our own files
          failures.push({ member, thrown });
          // Another member would say the same.
          if (isAnswer(thrown) && !isRecoverableError(thrown as Error)) break;
          leave(member);
        }
      }
      const told = failures.map(async ({ member, thrown }) => ({
        endpoint: member.endpoint,
        thrown: await member.diagnose(thrown),
      }));
      throw mostTelling(await Promise.all(told), options);
    },
    leave,
    close() {
      for (const member of members) member.close();
    },
  };
}
