import { type HttpAnswer, jsonAnswer } from './http-request.js';
import type { createMetrics } from './metrics.js';
import type { Status } from './status.js';
import { isAlive } from './status-problems.js';

/** How long one look at the node serves everybody who asks: the more peers there are, the more it costs. */
const SHARED_MS = 1000;
/** Steps of a start may be short, and telling the present one costs little. */
const SHARED_STARTING_MS = 100;
/** Less than `rudder status` waits, so that it has something to tell. */
const PATIENCE_MS = 4000;

export const VIEWS = ['/healthz', '/readyz', '/metrics', '/status', '/cluster'] as const;
export type View = (typeof VIEWS)[number];

/** One look at the node, and what was made of it: each view once, when it is first wanted. */
interface Look {
  readonly beganAt: number;
  readonly status: Promise<Status | string>;
  readonly answers: Map<View, Promise<HttpAnswer>>;
  /** From its beginning on. While it is under way it is shared by all, so that there is one at a time. */
  sharedMs: number;
}

export interface StatusViews {
  /**
   * @param isFresh the answer is no older than the question, which may have to wait until a new look is due
   * @throws Error what the look threw, or that it takes too long
   */
  answer(view: View, isFresh: boolean): Promise<HttpAnswer>;
}

/**
 * @param readStatus gives a text while the node still starts: what it is waiting for
 * @param clusterOf the same beside what other nodes say, who are asked while somebody wants to know
 */
export function createStatusViews(
  readStatus: () => Promise<Status | string>,
  clusterOf: (status: Status) => object,
): StatusViews {
  let last: Look | undefined;
  let metrics: ReturnType<typeof createMetrics> | undefined;

  function currentLook(): Look {
    if (last === undefined || performance.now() >= last.beganAt + last.sharedMs) last = look();
    return last;
  }

  function look(): Look {
    const begun: Look = {
      beganAt: performance.now(),
      status: readStatus(),
      answers: new Map(),
      sharedMs: Number.POSITIVE_INFINITY,
    };
    begun.status.then(
      (status) => {
        begun.sharedMs = typeof status === 'string' ? SHARED_STARTING_MS : SHARED_MS;
      },
      () => {
        begun.sharedMs = SHARED_MS;
      },
    );
    return begun;
  }

  async function freshLook(): Promise<Look> {
    const asked = performance.now();
    for (;;) {
      const found = currentLook();
      if (found.beganAt >= asked) return found;
      await found.status.catch(() => undefined);
      // One more, since a timer may come a little early.
      const waitMs = found.beganAt + found.sharedMs - performance.now() + 1;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  async function answerFrom({ status, answers }: Look, view: View): Promise<HttpAnswer> {
    let answer = answers.get(view);
    if (answer === undefined) {
      answer = status.then((known) => render(view, known));
      answers.set(view, answer);
    }
    return answer;
  }

  async function render(view: View, status: Status | string): Promise<HttpAnswer> {
    if (view === '/healthz') return healthOf(status);
    if (view === '/readyz') return readinessOf(status);
    if (view === '/status') return toldOf(status, (known) => known);
    if (view === '/cluster') return toldOf(status, clusterOf);
    // Loaded when first asked for: most nodes of a test, and many others, never are.
    metrics ??= (await import('./metrics.js')).createMetrics();
    const text = await metrics.text(typeof status === 'string' ? undefined : status);
    return { code: 200, type: metrics.contentType, body: Buffer.from(text) };
  }

  return {
    answer: (view, isFresh) =>
      withPatience(isFresh ? freshLook().then((found) => answerFrom(found, view)) : answerFrom(currentLook(), view)),
  };
}

function healthOf(status: Status | string): HttpAnswer {
  const alive = typeof status === 'string' || isAlive(status);
  return jsonAnswer(alive ? 200 : 503, { alive });
}

function readinessOf(status: Status | string): HttpAnswer {
  const problems = typeof status === 'string' ? [`starting: ${status}`] : status.problems;
  const warnings = typeof status === 'string' ? [] : status.warnings;
  return jsonAnswer(problems.length === 0 ? 200 : 503, { ready: problems.length === 0, problems, warnings });
}

function toldOf(status: Status | string, told: (status: Status) => object): HttpAnswer {
  return typeof status === 'string' ? jsonAnswer(503, { starting: status }) : jsonAnswer(200, told(status));
}

function withPatience<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const tooLong = () => reject(new Error(`the status was not there within ${PATIENCE_MS / 1000} s`));
    const timer = setTimeout(tooLong, PATIENCE_MS);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
