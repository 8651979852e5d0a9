import { defineConfig } from 'vitest/config'

/**
 * What a mutant has to survive: the quick tests of the mutated rooms. The long walks over the whole pool
 * are left out. They take seconds, nearly every mutant of the pool would wait for them, and a rule that
 * only they hold has no test that names it.
 */
export default defineConfig({
  test: {
    environment: 'node',
    isolate: false,
    // A property takes as long as its runs take, whatever else the machine does.
    testTimeout: 60_000,
    include: ['test/{balancing,openrouter/failures}/**/*.test.ts'],
    exclude: [
      'test/balancing/{pool-invariants,clients/ledger-invariants,health/lookup-schedule}.test.ts',
      'test/balancing/queue/queue-{cost,storm}.test.ts',
    ],
  },
})
