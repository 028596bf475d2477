/** Ctrl-C, or an end from outside, leaves nothing behind: exit code 130, as a shell has it. */
export function onSignal(cleanUp: () => Promise<void>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => void cleanUp().finally(() => process.exit(130)));
  }
}
