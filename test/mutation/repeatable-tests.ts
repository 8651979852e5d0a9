import { expect } from 'vitest'

/** One test, which can run as often as wanted. */
export interface RepeatableTest {
  readonly id: string
  readonly name: string
  readonly file: string
  readonly run: () => unknown
}

type Body = (...args: unknown[]) => unknown

/**
 * What the quick tests use of Vitest: its `expect` is the real one, and `describe` and `it` only note
 * the tests, so that they can run again for each mutant.
 */
export function createCollector() {
  const tests: RepeatableTest[] = []
  const path: string[] = []
  let file = ''

  const note = (name: string, run: () => unknown) => {
    const full = [...path, name].join(' > ')
    tests.push({ id: `${file}#${tests.length}`, name: full, file, run })
  }
  const within = (name: string, ...given: readonly unknown[]) => {
    path.push(name)
    // Vitest's options, as a time limit, may stand before the body.
    for (const body of given) if (typeof body === 'function') body()
    path.pop()
  }
  const eachOf =
    (register: (name: string, body: () => unknown) => void) =>
    (cases: readonly unknown[]) =>
    (name: string, body: Body): void => {
      for (const [at, given] of cases.entries()) {
        const args = Array.isArray(given) ? given : [given]
        register(`${name} (${at})`, () => body(...args))
      }
    }
  return {
    tests,
    /** Of which file the next tests are. */
    begin(name: string): void {
      file = name
    },
    api: {
      expect,
      describe: Object.assign(within, { each: eachOf(within) }),
      it: Object.assign(note, { each: eachOf(note) }),
    },
  }
}
