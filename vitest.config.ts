import { cloudflareTest } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'
import ClosingLineReporter from './test/closing-line-reporter.ts'

/** Each of these tests starts at least one workerd. */
const END_TO_END = {
  environment: 'node',
  testTimeout: 30_000,
  hookTimeout: 60_000,
  globalSetup: 'test/e2e/built-worker.ts',
} as const

/** Tests that measure time. In parallel, each would slow down the others. */
const TIMED = ['demo', 'raw-streams', 'strategies', 'waiting'].map(
  (name) => `test/e2e/${name}.test.ts`,
)

/** The secrets of the Worker under test. */
const SECRETS = {
  OPENROUTER_KEYS: JSON.stringify([
    { id: 'alpha', key: 'sk-or-v1-test-alpha', account: 'acme' },
    { id: 'beta', key: 'sk-or-v1-test-beta', account: 'acme' },
    { id: 'gamma', key: 'sk-or-v1-test-gamma', account: 'globex' },
  ]),
  CLIENT_KEYS: 'tester:sy-test-token-0001',
}

// Wrangler looks for required secrets in the environment, and warns once a test file where it finds
// none: it does not see the bindings below, which are what counts.
Object.assign(process.env, SECRETS)

/** The runtime with the Worker under test. */
const workerd = () =>
  cloudflareTest({
    // An environment that declares its secrets. From .dev.vars only the declared names are
    // loaded, and `bindings` below replaces them. So the tests use no real key.
    wrangler: { configPath: './wrangler.toml', environment: 'staging' },
    miniflare: {
      // Vitest's own runner warns without this flag. The Worker does not use it.
      compatibilityFlags: ['enable_nodejs_inspector_module'],
      // Nothing listens on the upstream's port, so a test without a fake upstream fails.
      bindings: {
        UPSTREAM_URL: 'http://localhost:9/api/v1',
        ...SECRETS,
        POLICY: {
          defaults: { max_concurrent: 50 },
          routes: [{ models: ['routed/*'], fallback_models: ['routed/last'] }],
        },
      },
    },
  })

const IN_WORKERD = {
  // The first call of a file loads the whole Worker, which takes seconds on a busy machine.
  testTimeout: 30_000,
} as const

/**
 * One workerd for all files of a project: to load the Worker again for each takes longer than its tests. The
 * files are run one after the other, so there are two such projects, for two cores.
 */
const IN_ONE_WORKERD = {
  isolate: false,
  setupFiles: 'test/worker/leave-nothing.ts',
} as const

/** Consumers that die with what they hold of the isolate's memory, and one that begins many objects anew. */
const ALONE = ['test/batches/runs/**/*.test.ts', 'test/key-pool/object-invariants.test.ts']

export default defineConfig({
  test: {
    // The gateway logs a line for each request. Only the lines of failed tests are shown.
    silent: 'passed-only',
    reporters: ['default', new ClosingLineReporter()],
    projects: [
      {
        test: {
          name: 'core',
          environment: 'node',
          // Pure code leaves nothing behind: without a process for each file it takes a third of the time.
          pool: 'threads',
          isolate: false,
          // A property takes as long as its runs take, whatever else the machine does.
          testTimeout: 30_000,
          include: [
            'test/*.test.ts',
            'test/{balancing,bench,config,documents,openrouter,local}/**/*.test.ts',
          ],
        },
      },
      {
        plugins: [workerd()],
        test: {
          name: 'worker',
          ...IN_WORKERD,
          include: ALONE,
        },
      },
      {
        plugins: [workerd()],
        test: {
          name: 'worker-shared',
          ...IN_WORKERD,
          ...IN_ONE_WORKERD,
          include: ['test/{flight,gateway,http}/**/*.test.ts'],
        },
      },
      {
        plugins: [workerd()],
        test: {
          name: 'worker-objects',
          ...IN_WORKERD,
          ...IN_ONE_WORKERD,
          include: ['test/{admin,batches,key-pool}/**/*.test.ts'],
          exclude: ALONE,
        },
      },
      {
        test: {
          name: 'simulation',
          environment: 'node',
          // Each test waits for a process that simulates.
          include: ['test/simulation/**/*.test.ts'],
          maxWorkers: 1,
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
      {
        test: {
          ...END_TO_END,
          name: 'browser',
          testTimeout: 60_000,
          include: ['test/browser/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
