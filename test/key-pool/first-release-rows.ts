/** When these rows were written: the last checkpoint came five seconds after the last change. */
export const WRITTEN_AT_MS = Date.UTC(2026, 10, 20, 12, 0, 5)

/**
 * The rows of a pool's storage as release 0.1.0 wrote them (November 2026). Among them are a breaker
 * that is open and one that counts failures, benches of every scope, a bench that hides another,
 * credit, learned owners, a running lease, meters and generations. Do not change them: a deployment
 * finds rows like these.
 */
export const FIRST_RELEASE_ROWS: readonly (readonly [kind: string, id: string, record: string])[] =
  [
    [
      'account',
      'globex',
      '{"bench":null,"freeBench":{"reason":"account_rate_limited","sinceMs":1795176000000,"hidden":null,"untilMs":1795179600000,"cure":"time","provenance":"upstream"},"modelBenches":[["vendor/model",{"reason":"account_rate_limited","sinceMs":1795176000000,"hidden":null,"untilMs":1795177800000,"cure":"time","provenance":"upstream"}]],"hadNoRoom":false}',
    ],
    [
      'account',
      'initech',
      '{"bench":{"reason":"account_out_of_credit","sinceMs":1795176000000,"hidden":{"reason":"account_rate_limited","sinceMs":1795176000000,"hidden":null,"untilMs":1795176300000,"cure":"time","provenance":"upstream"},"untilMs":null,"cure":"lookup","provenance":"guess"},"freeBench":null,"modelBenches":[],"hadNoRoom":false}',
    ],
    [
      'account',
      'user_delta',
      '{"bench":null,"freeBench":null,"modelBenches":[],"hadNoRoom":false}',
    ],
    [
      'checkpoint',
      'byModel',
      '[["vendor/model",{"total":{"attempts":8,"successes":1,"failures":5,"ignored":2,"faults":{"upstream":4,"unknown":1,"account":2},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":8,"successes":1,"failures":5,"ignored":2,"faults":{"upstream":4,"unknown":1,"account":2},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}],["vendor/cheap-1",{"total":{"attempts":1,"successes":1,"failures":0,"ignored":0,"faults":{},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":1,"successes":1,"failures":0,"ignored":0,"faults":{},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}]]',
    ],
    [
      'checkpoint',
      'counters',
      '{"turns":10,"retryTokens":20,"keys":[{"id":"alpha","lastTurn":6,"credit":{"kind":"known","limitUsd":20,"remainingUsd":12.25,"resetsAtMs":1795608000000,"stale":false,"asOfMs":1795176000000},"expiresAtMs":null,"lookupAtMs":1795176060000},{"id":"beta","lastTurn":5,"credit":{"kind":"known","limitUsd":null,"remainingUsd":null,"resetsAtMs":null,"stale":false,"asOfMs":1795176000000},"expiresAtMs":null,"lookupAtMs":1795176060000},{"id":"gamma","lastTurn":8,"credit":{"kind":"unknown"},"expiresAtMs":null,"lookupAtMs":1795176060000},{"id":"delta","lastTurn":7,"credit":{"kind":"known","limitUsd":null,"remainingUsd":null,"resetsAtMs":null,"stale":false,"asOfMs":1795176000000},"expiresAtMs":1795435200000,"lookupAtMs":1795176060000},{"id":"epsilon","lastTurn":10,"credit":{"kind":"unknown"},"expiresAtMs":null,"lookupAtMs":1795176060000}],"routes":[{"models":["vendor/cheap*"],"current":"alpha","smoothedWeights":[]},{"models":["*"],"current":"alpha","smoothedWeights":[["alpha",1,0],["beta",3,0],["delta",1,0],["gamma",1,0],["epsilon",1,0]]}],"meanCostUsd":0.25,"all":{"total":{"attempts":10,"successes":2,"failures":5,"ignored":3,"faults":{"upstream":4,"unknown":1,"account":2,"key":1},"promptTokens":200,"completionTokens":40,"cachedTokens":16,"reasoningTokens":8,"costUsd":0.5},"day":20777,"today":{"attempts":10,"successes":2,"failures":5,"ignored":3,"faults":{"upstream":4,"unknown":1,"account":2,"key":1},"promptTokens":200,"completionTokens":40,"cachedTokens":16,"reasoningTokens":8,"costUsd":0.5},"weekUsd":0.5,"monthUsd":0.5},"byKey":[["alpha",{"total":{"attempts":2,"successes":1,"failures":1,"ignored":0,"faults":{"upstream":1},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":2,"successes":1,"failures":1,"ignored":0,"faults":{"upstream":1},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}],["beta",{"total":{"attempts":3,"successes":0,"failures":3,"ignored":0,"faults":{"upstream":3},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"day":20777,"today":{"attempts":3,"successes":0,"failures":3,"ignored":0,"faults":{"upstream":3},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"weekUsd":0,"monthUsd":0}],["gamma",{"total":{"attempts":2,"successes":1,"failures":0,"ignored":1,"faults":{"account":1},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":2,"successes":1,"failures":0,"ignored":1,"faults":{"account":1},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}],["delta",{"total":{"attempts":2,"successes":0,"failures":1,"ignored":1,"faults":{"unknown":1,"key":1},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"day":20777,"today":{"attempts":2,"successes":0,"failures":1,"ignored":1,"faults":{"unknown":1,"key":1},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"weekUsd":0,"monthUsd":0}],["epsilon",{"total":{"attempts":1,"successes":0,"failures":0,"ignored":1,"faults":{"account":1},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"day":20777,"today":{"attempts":1,"successes":0,"failures":0,"ignored":1,"faults":{"account":1},"promptTokens":0,"completionTokens":0,"cachedTokens":0,"reasoningTokens":0,"costUsd":0},"weekUsd":0,"monthUsd":0}]],"byClient":[["tester",{"total":{"attempts":8,"successes":1,"failures":5,"ignored":2,"faults":{"upstream":4,"unknown":1,"account":2},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":8,"successes":1,"failures":5,"ignored":2,"faults":{"upstream":4,"unknown":1,"account":2},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}],["app-two",{"total":{"attempts":1,"successes":1,"failures":0,"ignored":0,"faults":{},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"day":20777,"today":{"attempts":1,"successes":1,"failures":0,"ignored":0,"faults":{},"promptTokens":100,"completionTokens":20,"cachedTokens":8,"reasoningTokens":4,"costUsd":0.25},"weekUsd":0.25,"monthUsd":0.25}]]}',
    ],
    [
      'checkpoint',
      'generations',
      '[["gen-1700000000-first",{"keyId":"alpha","clientId":"tester","atMs":1795176000000}],["gen-1700000000-second",{"keyId":"gamma","clientId":"app-two","atMs":1795176000000}]]',
    ],
    [
      'checkpoint',
      'leases',
      '[{"id":"running-1","keyId":"epsilon","clientId":"tester","model":"vendor/model","grantedAtMs":1795176000000,"expiresAtMs":1795176600000,"tokens":500,"unclaimedMs":null,"panic":false}]',
    ],
    [
      'checkpoint',
      'meters',
      '[{"id":"alpha","rpm":[{"slot":17951760009,"amount":2}],"tpm":[{"slot":17951760009,"amount":120}]}]',
    ],
    [
      'key',
      'alpha',
      '{"breaker":{"kind":"closed","failuresAtMs":[1795176000000],"recoveredAtMs":null},"bench":null,"strikes":0,"struckAtMs":0,"owner":null}',
    ],
    [
      'key',
      'beta',
      '{"breaker":{"kind":"open","untilMs":1795176060000,"cooldownMs":60000},"bench":null,"strikes":0,"struckAtMs":0,"owner":"org_acme"}',
    ],
    [
      'key',
      'delta',
      '{"breaker":{"kind":"closed","failuresAtMs":[1795176000000],"recoveredAtMs":null},"bench":{"reason":"key_spent","sinceMs":1795176000000,"hidden":{"reason":"account_rate_limited","sinceMs":1795176000000,"hidden":null,"untilMs":1795176600000,"cure":"time","provenance":"upstream"},"untilMs":null,"cure":"lookup","provenance":"guess"},"strikes":0,"struckAtMs":0,"owner":"user_delta"}',
    ],
    [
      'models',
      'benched',
      '[["vendor/model",{"reason":"account_rate_limited","sinceMs":1795176000000,"hidden":null,"untilMs":1795176900000,"cure":"time","provenance":"upstream"}]]',
    ],
  ]
