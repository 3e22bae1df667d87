-- A write takes the place of its user's dead letter.
CREATE INDEX dead_letters_user ON dead_letters (user_id);
