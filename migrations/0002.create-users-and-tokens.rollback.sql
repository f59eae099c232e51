DROP TABLE token_uses;
DROP TABLE tokens;
DROP TABLE users;
