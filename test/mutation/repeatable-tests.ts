import { expect } from 'vitest'

/** One test, which can run as often as wanted. */
export interface RepeatableTest {
  readonly id: string
  readonly name: string
  readonly file: string
  readonly run: () => unknown
}

type Body = (...args: unknown[]) => unknown

const bodyOf = (given: readonly unknown[]): Body =>
  given.find((one) => typeof one === 'function') as Body

/**
 * What the quick tests use of Vitest: its `expect` is the real one, and `describe` and `it` only note
 * the tests, so that they can run again for each mutant.
 */
export function createCollector() {
  const tests: RepeatableTest[] = []
  const path: string[] = []
  let file = ''

  // Options, which are limits of time, stand between the name and the body or after it.
  const note = (name: string, ...given: unknown[]) => {
    const run = bodyOf(given)
    const full = [...path, name].join(' > ')
    tests.push({ id: `${file}#${tests.length}`, name: full, file, run })
  }
  const within = (name: string, ...given: unknown[]) => {
    path.push(name)
    bodyOf(given)()
    path.pop()
  }
  const eachOf =
    (register: (name: string, body: () => unknown) => void) =>
    (cases: readonly unknown[]) =>
    (name: string, ...rest: unknown[]): void => {
      const body = bodyOf(rest)
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
