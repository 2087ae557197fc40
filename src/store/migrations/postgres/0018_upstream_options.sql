-- What the driver of an upstream CA wants to know besides: name=value,name=value (keeper/upstream.h).
ALTER TABLE upstream ADD COLUMN options TEXT NOT NULL DEFAULT '';
