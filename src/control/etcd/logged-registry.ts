import { messageOf } from '../../core/errors.js';
import type { Histogram } from '../../core/histogram.js';
import type { Logger } from '../../core/logger.js';
import type { Registry } from './registry.js';

/** A busy node's requests come near their deadline of some seconds at the end. */
export const REQUEST_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/**
 * A registry that tells at level debug what is asked of etcd, and what comes back: lists, renewals, writes, watches and
 * connections. Of values only how many there are. Who asks has a backoff, so that the lines have a bound.
 * @param times how long each request took, also one that failed
 */
export function loggedRegistry(registry: Registry, log: Logger, times: Histogram): Registry {
  function told<A extends unknown[], R>(
    request: string,
    ask: (...args: A) => Promise<R>,
    fieldsOf: (answer: R) => object = () => ({}),
  ): (...args: A) => Promise<R> {
    return async (...args) => {
      const start = performance.now();
      const ms = () => Math.round(performance.now() - start);
      try {
        const answer = await ask(...args);
        log.debug({ request, ...fieldsOf(answer), ms: ms() }, 'etcd answered');
        return answer;
      } catch (error) {
        log.debug({ request, reason: messageOf(error), ms: ms() }, 'etcd did not do what it was asked');
        throw error;
      } finally {
        times.add((performance.now() - start) / 1000);
      }
    };
  }
  const written = (holding: object | undefined) => ({ written: holding !== undefined });

  return {
    ...registry,
    getConfig: told('read config', registry.getConfig, (json) => ({ found: json !== undefined })),
    readConfig: told('read config', registry.readConfig, (stored) => ({ found: stored !== undefined })),
    createConfig: told('create config', registry.createConfig, (created) => ({ created })),
    replaceConfig: told('replace config', registry.replaceConfig, (replaced) => ({ replaced })),
    configHistory: told('read config history', registry.configHistory, ({ length }) => ({ versions: length })),
    listLeases: told('list leases', registry.listLeases, ({ revision, entries }) => ({
      revision,
      leases: entries.length,
    })),
    createLease: told('create lease', registry.createLease, written),
    updateLease: told('update lease', registry.updateLease, written),
    deleteLease: told('delete lease', registry.deleteLease, (deleted) => ({ deleted })),
    keepAlive: told('renew lease', registry.keepAlive, (renewed) => ({ renewed })),
    timeToLive: told('time to live', registry.timeToLive, (ttl) => ({ ...ttl })),
    watch(fromRevision, handler) {
      log.debug({ fromRevision }, 'watching etcd');
      return registry.watch(fromRevision, {
        opened: handler.opened,
        events(events) {
          log.debug({ events: events.length }, 'etcd told of changes');
          handler.events(events);
        },
        ended(reason) {
          log.debug({ reason: messageOf(reason) }, 'the watch of etcd has ended');
          handler.ended(reason);
        },
      });
    },
    reconnect() {
      log.debug({}, 'connecting to etcd anew');
      registry.reconnect();
    },
  };
}
