// What the explorer of Klio adds to GraphiQL: a token that is remembered, a socket for subscriptions, a first query.
// Used by both pages: the built one (main.jsx) and the one from the CDN (../cdn.html).

const KEY = 'klio:token';

export const token = {
  get: () => localStorage.getItem(KEY) ?? '',
  set: (text) => (text ? localStorage.setItem(KEY, text) : localStorage.removeItem(KEY)),
};

export const FIRST_QUERY = `# Welcome to Klio. Put a token into the field at the top right (\`klio token create\` makes one), then press Ctrl-Enter.
#
# Everything that your org's klasses define is here: open the documentation with the book at the left.

query Customers {
  customers(first: 5) {
    nodes {
      id
      name
      createdAt
    }
    totalCount
  }
}

# A subscription: run it, then change a customer in another tab.
subscription Changes {
  customerChanged {
    change
    id
    customer {
      name
    }
    cursor
  }
}
`;

// A fetcher: queries and mutations by POST, subscriptions over a socket that is opened when the first one is.
export function fetcher(createGraphiQLFetcher, createClient) {
  const socket = createClient({
    url: location.origin.replace(/^http/, 'ws') + '/graphql',
    lazy: true,
    connectionParams: () => ({ authorization: `Bearer ${token.get()}` }),
  });
  const make = createGraphiQLFetcher({ url: '/graphql', wsClient: socket });
  return (params, options) => {
    const authorization = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
    return make(params, { ...options, headers: { ...authorization, ...options?.headers } });
  };
}

// The field for the token. `changed` is called when another one is given.
export function tokenField(changed) {
  const form = document.createElement('form');
  form.className = 'klio-token';
  form.innerHTML = '<label>Token <input type="password" autocomplete="off" spellcheck="false" placeholder="klio_…" aria-label="Token"></label>';
  const input = form.querySelector('input');
  input.value = token.get();
  const take = (event) => {
    event?.preventDefault();
    if (input.value.trim() === token.get()) return;
    token.set(input.value.trim());
    changed();
  };
  form.addEventListener('submit', take);
  input.addEventListener('change', take);
  document.body.append(form);
}
