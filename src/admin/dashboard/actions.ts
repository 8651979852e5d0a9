/** What an operator can do by a button of the page, each with the question that comes before. */
export interface Action {
  /** `<id>` stands for what it is done to. */
  readonly question: string
  readonly consequence: string
  readonly button: string
  readonly done: string
  /** Whether it takes something away. */
  readonly isDangerous?: true
}

export const ACTIONS = {
  pause: {
    question: 'Pause the key <id>?',
    consequence: 'It takes no new request until you resume it. Requests that run go on.',
    button: 'Pause it',
    done: 'The key <id> is paused.',
  },
  drain: {
    question: 'Drain the key <id>?',
    consequence: 'It takes no new request. When its last running request has ended, it is paused.',
    button: 'Drain it',
    done: 'The key <id> is draining.',
  },
  resume: {
    question: 'Resume the key <id>?',
    consequence: 'It takes requests again, unless something else is against it.',
    button: 'Resume it',
    done: 'The key <id> takes requests again.',
  },
  reset: {
    question: 'Reset the key <id>?',
    consequence:
      'Its breaker closes, and its and its account’s benches are forgotten. Attempts that began before change nothing any more. If what was wrong still is, it goes out again.',
    button: 'Reset it',
    done: 'What the key <id> was judged for is forgotten.',
  },
  refresh: {
    question: 'Look up the credit of all keys?',
    consequence: 'OpenRouter is asked about each key now, and not when it is due.',
    button: 'Look it up',
    done: 'The credit was looked up.',
  },
  test_alert: {
    question: 'Send a test to <id>?',
    consequence: 'It is signed as an alert is. Its answer shows whether alerts reach it.',
    button: 'Send it',
    done: 'The test has reached <id>.',
  },
  rotate: {
    question: 'Make a new token for the client <id>?',
    consequence: 'The new token is shown once. The one before stays valid for a day.',
    button: 'Make a new token',
    done: '',
  },
  revoke: {
    question: 'Remove the client <id>?',
    consequence:
      'Its tokens are refused everywhere within a minute. What it has spent is forgotten.',
    button: 'Remove it',
    done: 'The client <id> is removed.',
    isDangerous: true,
  },
  remove_group: {
    question: 'Remove the group <id>?',
    consequence: 'It must have no clients left. What it has spent is forgotten.',
    button: 'Remove it',
    done: 'The group <id> is removed.',
    isDangerous: true,
  },
} as const satisfies Readonly<Record<string, Action>>

export type ActionName = keyof typeof ACTIONS

/** The action of that name; null if there is none. */
export function actionOf(
  name: string,
): { readonly name: ActionName; readonly action: Action } | null {
  return isActionName(name) ? { name, action: ACTIONS[name] } : null
}

function isActionName(name: string): name is ActionName {
  return Object.hasOwn(ACTIONS, name)
}

/** A sentence about what the action is done to. */
export function about(text: string, id: string): string {
  return text.replace('<id>', id)
}
