/**
 * What an operator may take away from the gateway, or what may fail: the rows of a table in
 * docs/operating.md, each with the test that shows it, by its file and the beginning of its name.
 */
export const MISSING_PARTS = [
  {
    part: 'The binding of the object, or of KV, is missing.',
    happens: '500 `gateway_misconfigured` to every request; the log says which.',
    test: ['test/e2e/faults/platform-faults.test.ts', "test.each(['no object', 'no kv'] as const)"],
  },
  {
    part: 'The object throws, is overloaded, or does not answer for two seconds.',
    happens:
      'Requests go on without it, under `open`; see [below](#when-the-pools-object-does-not-answer).',
    test: [
      'test/e2e/faults/platform-faults.test.ts',
      "test.each(['object throws', 'object overloaded', 'object hangs'] as const)",
    ],
  },
  {
    part: 'The same, under `closed`.',
    happens: '503 `pool_unavailable`.',
    test: ['test/http/degraded.test.ts', "it('a policy that is closed refuses"],
  },
  {
    part: 'The same, for a client with a budget, or with a token of the admin API.',
    happens: '503 `pool_unavailable`. What a location has seen within a minute goes on.',
    test: ['test/http/degraded.test.ts', "it('a client with a budget is refused"],
  },
  {
    part: 'The same, for operators.',
    happens: 'The admin API answers 503, and says whether a change may have been made.',
    test: [
      'test/admin/client-routes.test.ts',
      "it('is answered with 503 while the object does not answer",
    ],
  },
  {
    part: 'The same, for a monitor.',
    happens: '`/healthz` says `degraded`, with 200 under `open` and 503 under `closed`.',
    test: [
      'test/http/routes/healthz.test.ts',
      "'while the pool cannot be reached and the policy is",
    ],
  },
  {
    part: 'The same, for Prometheus.',
    happens: '`/metrics` answers, with `switchyard_pool_up 0`.',
    test: ['test/admin/metrics/metrics-route.test.ts', "it('that the object does not answer"],
  },
  {
    part: 'The binding of flights is missing, and a route has a `cache`.',
    happens: '500 `gateway_misconfigured` to every request; the log says which.',
    test: ['test/config/policy.test.ts', "it('answers can be shared only where"],
  },
  {
    part: 'The same, without such a route.',
    happens: 'Nothing. A durable answer is refused: 503 `pool_unavailable`.',
    test: ['test/flight/one-answer-for-all.test.ts', "it('a gateway without flights"],
  },
  {
    part: 'The object of a flight throws, is overloaded, or does not answer for three seconds.',
    happens: 'The request makes its own upstream call. A durable answer is refused, as above.',
    test: ['test/flight/one-answer-for-all.test.ts', "describe('an object that fails"],
  },
  {
    part: 'KV fails or hangs.',
    happens: 'Nobody notices: the object knows what is in it.',
    test: [
      'test/e2e/faults/platform-faults.test.ts',
      "test.each(['kv fails', 'kv hangs', 'lookup hangs'] as const)",
    ],
  },
  {
    part: 'Cloudflare’s cache fails.',
    happens: 'The public lists are fetched each time.',
    test: [
      'test/http/routes/catalogue.test.ts',
      "it('a list is given although the cache is broken",
    ],
  },
  {
    part: 'The cron trigger is missing or rests.',
    happens: 'Requests take lookups along. Without requests none is made.',
    test: ['test/gateway/credit-lookups.test.ts', "it('is asked for behind the requests"],
  },
  {
    part: 'Cloudflare’s rate limiting is missing.',
    happens: 'Nothing: none is used. Wrong tokens are limited in each isolate’s memory.',
    test: ['test/admin/run-time-keys.test.ts', "it('cost few calls to the object"],
  },
  {
    part: 'The binding of the static assets is missing.',
    happens: 'The operators’ pages and their forms work all the same, and look plain.',
    test: [
      'test/admin/dashboard/pages.test.ts',
      "it('without the binding of the static assets pages",
    ],
  },
  {
    part: 'A binding of batches is missing.',
    happens: '`files` and `batches` answer 404 `batches_off`. All else works.',
    test: ['test/e2e/unserved-paths.test.ts', '%s says that they are off'],
  },
  {
    part: '`ADMIN_TOKEN` and `READ_TOKEN` are not set.',
    happens: 'The admin API and `/metrics` are not there: 404.',
    test: ['test/admin/sign-in.test.ts', "it('all of /admin is a 404"],
  },
] as const
