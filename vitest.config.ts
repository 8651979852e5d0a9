import { cloudflareTest } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'
import ClosingLineReporter from './test/closing-line-reporter.ts'

/** Each test starts one workerd or more. */
const END_TO_END = { environment: 'node', testTimeout: 30_000, hookTimeout: 60_000 } as const

/** What is seen here depends on how long things take: side by side they would measure each other. */
const TIMED = ['cancellation', 'demo', 'strategies', 'waiting'].map(
  (name) => `test/e2e/${name}.test.ts`,
)

export default defineConfig({
  test: {
    // The gateway logs a line for each request; those of a failed test are shown.
    silent: 'passed-only',
    reporters: ['default', new ClosingLineReporter()],
    projects: [
      {
        test: {
          name: 'core',
          environment: 'node',
          include: ['test/*.test.ts', 'test/{balancing,config,openrouter,local}/**/*.test.ts'],
        },
      },
      {
        plugins: [
          cloudflareTest({
            // An environment that declares its secrets: of whatever keys lie in .dev.vars only those
            // names would be loaded, and they are replaced below.
            wrangler: { configPath: './wrangler.toml', environment: 'staging' },
            miniflare: {
              // For vitest's own runner, which complains without it; the Worker never asks.
              compatibilityFlags: ['enable_nodejs_inspector_module'],
              // Nothing listens on the upstream's port: a test that forgets to fake it fails.
              bindings: {
                UPSTREAM_URL: 'http://localhost:9/api/v1',
                OPENROUTER_KEYS: JSON.stringify([
                  { id: 'alpha', key: 'sk-or-v1-test-alpha', account: 'acme' },
                  { id: 'beta', key: 'sk-or-v1-test-beta', account: 'acme' },
                  { id: 'gamma', key: 'sk-or-v1-test-gamma', account: 'globex' },
                ]),
                CLIENT_KEYS: 'tester:sy-test-token',
                POLICY: { defaults: { max_concurrent: 50 } },
              },
            },
          }),
        ],
        test: {
          name: 'worker',
          include: ['test/{key-pool,gateway,http}/**/*.test.ts'],
        },
      },
      {
        test: {
          ...END_TO_END,
          name: 'e2e',
          include: ['test/{simulator,e2e}/**/*.test.ts'],
          exclude: TIMED,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...END_TO_END,
          name: 'e2e-timed',
          include: TIMED,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
