/**
 * The time since the host's start by the fake clock, and a host that can be suspended: its timers stand still meanwhile.
 * Use: `vi.mock('<src>/control/boot-clock.js', () => import('<unit>/control/fake-boot-clock.js'))`.
 */
let suspendedMs = 0;

export const bootNow = (): number => performance.now() + suspendedMs;

export function suspend(seconds: number): void {
  suspendedMs += seconds * 1000;
}
